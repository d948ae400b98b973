"""Fixtures: redis."""
