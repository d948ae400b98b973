"""Pins, and what indexes have of packages. Pure: no database."""
