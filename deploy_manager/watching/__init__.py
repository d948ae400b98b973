"""Watching: what runs on each server between deployments, and what is done if it does not."""
