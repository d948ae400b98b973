"""Pins, and what is known of packages. Pure: no database; asks package indexes and advisories."""
