"""The states of deployments, hosts, steps and shards."""

from django.db import models
from django.db.models import Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    """The state of a deployment, a host or a step; not each of them has every state."""

    WAITING = "waiting", _("waiting")
    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    PARTLY_FAILED = "partly_failed", _("partly failed")
    SKIPPED = "skipped", _("skipped")
    CANCELLED = "cancelled", _("cancelled")
    LOST = "lost", _("lost")
    ROLLED_BACK = "rolled_back", _("rolled back")

    @property
    def is_live(self) -> bool:
        return self in LIVE


class ShardState(models.TextChoices):
    """The state of a shard: whether it can be claimed, and by whom it is held."""

    WAITING = "waiting", _("waits for the others")
    QUEUED = "queued", _("queued")
    HELD = "held", _("held")
    ENDED = "ended", _("ended")


LIVE = (State.WAITING, State.QUEUED, State.RUNNING)
"""States of what has not ended yet."""

BUSY = (State.QUEUED, State.RUNNING)
"""States that hold the environment: meanwhile nothing else is queued there."""

BROKEN = (State.FAILED, State.LOST, State.ROLLED_BACK)
"""States that count as a failure of a host."""

TO_RETRY = (*BROKEN, State.SKIPPED, State.CANCELLED)
"""States of hosts that a retry runs on again."""

PROCESS_DOWN, PROCESS_BACK = "process_down", "process_back"
"""What people are notified of besides the ends of deployments."""

APPROVAL_NEEDED, GLASS_BROKEN = "approval_needed", "glass_broken"
"""The same, of a request: it waits for approval, or goes without."""


def ends() -> list[tuple[str, str | Promise]]:
    """Return the states in which a deployment can end, with their labels."""
    found = [state for state in State if not state.is_live and state is not State.SKIPPED]
    return [(state.value, state.label) for state in found]


def notified_of() -> list[tuple[str, str | Promise]]:
    """Return all that people can be notified of, with its label."""
    return [
        *ends(),
        (PROCESS_DOWN, _("a process is down")),
        (PROCESS_BACK, _("it is back")),
        (APPROVAL_NEEDED, _("a deployment waits for approval")),
        (GLASS_BROKEN, _("a deployment goes without approval (break-glass)")),
    ]


def ends_with_a_time(name: str) -> models.CheckConstraint:
    """Return a constraint: a row is live exactly as long as it has no time of its end."""
    # Plain strings, so that migrations import nothing of this module.
    live = Q(state__in=[state.value for state in LIVE])
    return models.CheckConstraint(
        condition=(live & Q(finished_at=None)) | (~live & ~Q(finished_at=None)), name=name
    )
