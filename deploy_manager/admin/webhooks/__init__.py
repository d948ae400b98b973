"""Webhooks: in, of forges, on pages of their own; out, on the page of an environment."""
