"""Upgrades: planned, requested, advanced from environment to environment, and run by policies."""
