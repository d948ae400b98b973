"""Puts tiers into effect on a server, as root: see main.py."""
