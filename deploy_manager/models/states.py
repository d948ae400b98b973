"""The states of deployments, hosts and steps, and what is live."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class State(models.TextChoices):
    """Where a deployment, a host or a step stands. Not every one knows each state."""

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
    """Where the claim on some hosts of a deployment stands."""

    WAITING = "waiting", _("waits for the others")
    QUEUED = "queued", _("queued")
    HELD = "held", _("held")
    ENDED = "ended", _("ended")


LIVE = (State.WAITING, State.QUEUED, State.RUNNING)
"""What has not ended yet."""

BUSY = (State.QUEUED, State.RUNNING)
"""What holds its environment: nothing else is queued there meanwhile."""

BROKEN = (State.FAILED, State.LOST, State.ROLLED_BACK)
"""What counts as a failure of a host."""

TO_RETRY = (*BROKEN, State.SKIPPED, State.CANCELLED)
"""Hosts that a retry goes to."""


def ends_with_a_time(name: str) -> models.CheckConstraint:
    """A row is live exactly as long as it has no end."""
    live = Q(state__in=[state.value for state in LIVE])
    return models.CheckConstraint(
        condition=(live & Q(finished_at=None)) | (~live & ~Q(finished_at=None)), name=name
    )
