"""Upgrades: planned, asked for, moved on from environment to environment, and by policies."""
