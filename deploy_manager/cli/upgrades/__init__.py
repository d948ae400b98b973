"""Upgrades on a command line."""
