"""The rounds of watching: which servers are asked now, and what a worker does with them.

The rows say what is due: a message that is lost is sent again, and one that arrives twice asks once
more.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from deploy_manager.conf import get_settings
from deploy_manager.models import Deployment, Placement, Watch
from deploy_manager.models.watches import placements_at_rest, watched_placements
from deploy_manager.watching.looking import look_at_all
from deploy_manager.watching.starting import start_what_is_down
from deploy_manager.watching.telling import tell

JOB = "asked servers what runs"

MOST_AT_A_TIME = 50
"""Servers in one message, asked side by side; the next round takes the others."""


def wake_for_due(wake: Callable[..., bool]) -> int | None:
    """Wake a worker for the servers that are due; None if none could be woken.

    `wake` takes the ids of their placements, and says whether a worker was woken.
    """
    is_on = bool(get_settings().WATCH_EVERY)
    forget_what_is_not_watched(is_on)
    if not is_on:
        return 0
    claimed = claim_due(MOST_AT_A_TIME)
    if claimed and not wake(*claimed):
        Watch.objects.filter(placement__in=claimed).update(tried_at=None)
        return None
    return len(claimed)


def forget_what_is_not_watched(is_on: bool) -> None:
    """Delete what was seen where nobody looks any more: pages would show it as if it were now."""
    stale = Watch.objects.all()
    if is_on:
        stale = stale.exclude(placement__in=watched_placements())
    # Asked first: even a delete that finds nothing locks SQLite.
    if stale.exists():
        stale.delete()


def due_placements() -> QuerySet[Placement]:
    """Return placements that were not asked within WATCH_EVERY; new ones come first."""
    due = Q(watch=None) | Q(watch__tried_at=None) | Q(watch__tried_at__lt=Now() - _pause())
    return (
        placements_at_rest().filter(due).order_by(F("watch__tried_at").asc(nulls_first=True), "pk")
    )


def claim_due(most: int) -> list[int]:
    """Mark up to so many due placements as asked; return the ids of those that this call got."""
    due = list(due_placements().values_list("pk", flat=True)[:most])
    Watch.objects.bulk_create([Watch(placement_id=pk) for pk in due], ignore_conflicts=True)
    # Each is a conditional UPDATE: of two processes that read the same list, one gets the row.
    return [pk for pk in due if _due_watch(pk).update(tried_at=Now())]


def _pause() -> timedelta:
    # A little less: rounds come every few seconds, and the next look is to be in time.
    return timedelta(seconds=0.9 * (get_settings().WATCH_EVERY or 0))


def _due_watch(placement_id: int) -> QuerySet[Watch]:
    due = Q(tried_at=None) | Q(tried_at__lt=Now() - _pause())
    return Watch.objects.filter(due, placement=placement_id)


def watch(placement_ids: Sequence[int]) -> None:
    """Ask servers what runs, notify people of what changed, and start what is to be started."""
    problems = look_at_all(placements_at_rest().filter(pk__in=placement_ids))
    tell(problems)
    start_what_is_down([placement for placement, problem in problems.items() if not problem])


def look_again_after(deployment: Deployment) -> None:
    """Make a look due on every server that a deployment reached."""
    reached = deployment.host_runs.filter(placement__isnull=False, started_at__isnull=False)
    Watch.objects.filter(placement__in=reached.values("placement")).update(tried_at=None)
