"""Tiers: what stands before, behind and beside a site's processes. A folder for each kind.

Pure: each kind turns plain facts into the text of configuration files; `recipes/tiers.py` brings
those to servers. See docs/add-a-tier.md.
"""
