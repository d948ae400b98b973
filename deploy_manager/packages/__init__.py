"""Packages as rows: pins, inventories, index facts, advisories, overrides, and their drift."""
