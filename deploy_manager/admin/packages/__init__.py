"""Servers and packages in one table."""
