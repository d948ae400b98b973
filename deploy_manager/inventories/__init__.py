"""Inventories of other tools, read without a database: which servers a file says there are.

A new format is a file like `puppetdb_inventory.py`, and its line in `formats.py`.
"""
