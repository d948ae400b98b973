"""Pins on a command line."""
