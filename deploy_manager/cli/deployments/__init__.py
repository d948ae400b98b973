"""Deployments on a command line: planned, requested, watched."""
