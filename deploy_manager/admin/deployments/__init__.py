"""Deployments: started, watched, kept as history."""
