"""Packages on a command line: pins, overrides, installed versions, advisories."""
