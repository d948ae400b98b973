"""Fixtures: sshd."""
