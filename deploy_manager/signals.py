"""The signals for projects. Receivers run after the commit; their exceptions are only logged."""

from django.dispatch import Signal

deployment_ended = Signal()
"""A deployment has ended. Sent with `deployment`; its row and its host runs have the outcome."""

deployment_requested = Signal()
"""A deployment was requested: it is *queued* or *waiting*. Sent with `deployment`."""

resolution_due = Signal()
"""A resolution waits for a worker. Sent with `resolution`, again until a worker takes it."""

policy_run_due = Signal()
"""A policy run waits for a worker. Sent with `run`, again until a worker takes it."""

delivery_due = Signal()
"""A message waits to be sent to an outgoing webhook. Sent with `delivery`, until it has arrived."""

fetch_due = Signal()
"""A worker is to fetch a repository. Sent with `project`; a receiver returns why it asked none."""
