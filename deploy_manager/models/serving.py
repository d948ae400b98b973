"""The release that an environment serves, from what was last seen on its servers."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from django.db.models import Exists, OuterRef

from deploy_manager.models import (
    ROLLBACK_PHASE,
    Environment,
    HostRun,
    Placement,
    Release,
    State,
    Step,
)

LONG_AGO = datetime.min.replace(tzinfo=UTC)
MOST_DEPLOYMENTS = 200
"""Deployments that are read back: more than any environment keeps releases."""


def usual_release(served: Iterable[tuple[int | None, datetime | None]]) -> int | None:
    """Return the release that most servers serve; of several, the one that was activated last.

    `served` has each server's release and when that was activated there; None: it serves none, or
    the time is not known.
    """
    counts: Counter[int] = Counter()
    latest: dict[int, datetime] = {}
    for release, activated_at in served:
        if release is not None:
            counts[release] += 1
            latest[release] = max(latest.get(release, LONG_AGO), activated_at or LONG_AGO)
    return max(counts, key=lambda each: (counts[each], latest[each], each), default=None)


def most_served(placements: Iterable[Placement]) -> Release | None:
    """Return the release that most of these were last seen to serve; None: they serve none.

    Makes no query for prefetched placements.
    """
    placements = list(placements)
    found = {each.active_release_id: each.active_release for each in placements}
    usual = usual_release((each.active_release_id, each.activated_at) for each in placements)
    return None if usual is None else found[usual]


def serving_release(environment: Environment) -> Release | None:
    """Return the release that most of an environment's servers were last seen to serve."""
    return most_served(environment.placements.select_related("active_release"))


def served_before(environment: Environment, serving: Release | None) -> list[int] | None:
    """Return the keys of the releases that served before one, the last of them first.

    A release that was rolled back is left out until it is activated again. None: the recorded
    deployments don't show when this one came to serve.
    """
    order: list[int] = []
    served: dict[int, tuple[int | None, datetime | None]] = {}
    for runs in _switches(environment):
        for run in runs:
            # A server joins with what it served before its first switch.
            served.setdefault(run.placement_id or 0, (run.release_before_id, None))
        _come_to_serve(usual_release(served.values()), order)
        for run in runs:
            served[run.placement_id or 0] = (run.deployment.release_id, run.finished_at)
        _come_to_serve(usual_release(served.values()), order)
    if serving is None:
        return order[::-1] or None
    if serving.pk not in order:
        return None
    return order[: order.index(serving.pk)][::-1]


def _come_to_serve(release: int | None, order: list[int]) -> None:
    """Note what serves now; if it had served before, the release before it was rolled back."""
    if release is None or order[-1:] == [release]:
        return
    if release in order:
        order.pop()
        order.remove(release)
    order.append(release)


def _switches(environment: Environment) -> Iterable[list[HostRun]]:
    """Return for each deployment, the oldest first, the servers that it left with its release."""
    went_back = Step.objects.filter(
        host_run=OuterRef("pk"), phase=ROLLBACK_PHASE, state=State.SUCCEEDED
    )
    switched = HostRun.objects.filter(
        deployment__environment=environment,
        deployment__release__isnull=False,
        placement__isnull=False,
        was_switched=True,
    ).exclude(Exists(went_back))
    latest = switched.order_by("-deployment__started_at", "-deployment")
    keys = list(dict.fromkeys(latest.values_list("deployment", flat=True)))[:MOST_DEPLOYMENTS]
    by_deployment: dict[int, list[HostRun]] = {key: [] for key in reversed(keys)}
    for run in switched.filter(deployment__in=keys).select_related("deployment").order_by("pk"):
        by_deployment[run.deployment_id].append(run)
    return by_deployment.values()
