"""What a project may listen to. Receivers run after the commit; what they raise is only logged."""

from django.dispatch import Signal

deployment_ended = Signal()
"""A deployment ended. Sent with `deployment`; its row and its hosts' say how."""

deployment_requested = Signal()
"""A deployment was written, *queued* or *waiting*. Sent with `deployment`."""

resolution_due = Signal()
"""A question to the resolver waits for a worker. Sent with `resolution`, until one takes it up."""

policy_run_due = Signal()
"""A run of a policy waits for a worker. Sent with `run`, again and again until one takes it up."""
