"""Upgrades and the policies that begin them: their forms and pages."""
