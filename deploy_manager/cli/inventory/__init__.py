"""Environments on a command line: found by name, frozen."""
