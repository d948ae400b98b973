"""Deployments: planned, requested, claimed, carried out on servers, and ended truthfully."""
