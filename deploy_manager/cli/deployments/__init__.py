"""Deployments on a command line: requested, watched, shown."""
