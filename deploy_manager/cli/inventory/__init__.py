"""Environments as command lines name them."""
