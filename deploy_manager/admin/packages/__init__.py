"""Packages: the matrix of servers, requirements, lock files, overrides and advisories."""
