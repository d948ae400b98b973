"""Provisioning a server: looks what it lacks for a site, then installs that. Python 3.10 or later.

Sent as one zip file and run from memory, as root; see main.py.
"""
