"""Webhooks of forges: the way in for pushes and for what a CI says."""
