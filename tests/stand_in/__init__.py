"""Hosts that are none: in a worker with this app each command is answered at once.

They stand at the host's border, where a connection would be opened: rows, claims, the writer, the
rollout and the recipes are real, and no server is asked.
"""
