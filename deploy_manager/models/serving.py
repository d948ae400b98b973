"""Which release an environment serves, which served before, and which are not known to have."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message
from deploy_manager.models import (
    ROLLBACK_PHASE,
    Environment,
    HostRun,
    Placement,
    Release,
    State,
    Step,
)
from deploy_manager.models.runs import ACTIVATE, VERIFY

LONG_AGO = datetime.min.replace(tzinfo=UTC)
MOST_DEPLOYMENTS = 200
"""Deployments that are read back: more than any environment keeps releases."""

OWN_STEPS = Step.objects.filter(host_run=OuterRef("pk")).exclude(phase=ROLLBACK_PHASE)
# As Step.is_proof, which reads one row.
PROOFS = OWN_STEPS.filter(Q(in_waves=True) | Q(phase=VERIFY) | Q(recipe=VERIFY))
WAS_ACTIVATED = Exists(OWN_STEPS.filter(recipe=ACTIVATE, state=State.SUCCEEDED))
WENT_BACK = Exists(
    Step.objects.filter(host_run=OuterRef("pk"), phase=ROLLBACK_PHASE, state=State.SUCCEEDED)
)


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
    # The key at last: a tie must not be decided by the order in which rows happen to be read.
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


def served_before(
    environment: Environment, serving: Release | None, on: Collection[int] = ()
) -> list[int]:
    """Return the keys of the releases that served before one, the last of them first.

    A release that was rolled back is left out until it is activated again, and so is each that is
    `unproven` on these placements. If no recorded deployment brought this one, all the others
    served before it.
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
    if serving and serving.pk in order:
        order = order[: order.index(serving.pk)]
    lacking = unproven(order, on)
    return [release for release in reversed(order) if release not in lacking]


def unproven(releases: Iterable[int], on: Collection[int] = ()) -> dict[int, Message]:
    """Return, by key, why releases are not known to have served: switched to, and verified.

    On each server the last verdict counts, and on all of them together what most say; where any of
    the placements `on` has a verdict, on those alone. A switch that checks nothing is a verdict, as
    a project's own pipelines may be without a check; but it proves no release that failed one. See
    `_made_good`.
    """
    found = list(releases)
    verdicts: dict[int, dict[int, bool]] = defaultdict(dict)
    owed: dict[tuple[int, int], str] = {}
    blamed: dict[int, Message] = {}
    reached = set()
    for run in _judged(found):
        release, place = run.release, (run.release, run.placement)
        if run.was_activated and release not in reached:
            reached.add(release)
            blamed.pop(release, None)
        if run.was_activated and run.failed_proof:
            verdicts[release][run.placement] = False
            owed[place] = run.failed_proof
            blamed[release] = Message(
                _("failed its check: “%(step)s” failed"), step=Message(run.failed)
            )
        elif run.was_activated and not run.is_unproven and not run.went_back:
            if place not in owed or _made_good(run.pk, owed[place]):
                verdicts[release][run.placement] = True
                owed.pop(place, None)
        elif run.failed and release not in reached:
            blamed[release] = Message(
                _("never served: “%(step)s” failed"), step=Message(run.failed)
            )
    counts = {
        release: Counter([each[place] for place in each.keys() & set(on)] or each.values())
        for release, each in verdicts.items()
    }
    proven = {release for release, count in counts.items() if count[True] > count[False]}
    unknown = Message(_("never served, as far as is known"))
    return {each: blamed.get(each, unknown) for each in found if each not in proven}


def _judged(releases: list[int]) -> Iterable[Any]:
    """Return what the rows say of each server that was to get one of these, the oldest first."""
    runs = HostRun.objects.filter(deployment__release__in=releases, placement__isnull=False)
    judged = runs.annotate(
        release=F("deployment__release"),
        was_activated=WAS_ACTIVATED,
        went_back=WENT_BACK,
        is_unproven=Exists(PROOFS.exclude(state=State.SUCCEEDED)),
        failed=Subquery(OWN_STEPS.filter(state=State.FAILED).values("title")[:1]),
        failed_proof=Subquery(PROOFS.filter(state=State.FAILED).values("recipe")[:1]),
    ).order_by("deployment__started_at", "deployment", "pk")
    own = ("release", "was_activated", "went_back", "is_unproven", "failed", "failed_proof")
    return judged.values_list("pk", "placement", *own, named=True)


def _made_good(host_run: int, check: str) -> bool:
    """Whether a switch that succeeded makes good that a check had failed there before.

    The same recipe did, or any that verifies. A pipeline without either, like `activate` alone,
    looked at nothing.
    """
    steps = Step.objects.filter(host_run=host_run, state=State.SUCCEEDED)
    same = Q(recipe__in={check, VERIFY}) | Q(phase=VERIFY)
    return steps.exclude(phase=ROLLBACK_PHASE).filter(same).exists()


def with_unproven(releases: list[Release]) -> list[Release]:
    """Return releases with why each is `unproven`, for templates; None: it served."""
    lacking = unproven(each.pk for each in releases)
    for each in releases:
        each.unproven = lacking.get(each.pk)  # type: ignore[attr-defined]
    return releases


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
    # By the step as well: it was not written that a server was switched if its check failed.
    switched = HostRun.objects.filter(
        Q(was_switched=True) | WAS_ACTIVATED,
        deployment__environment=environment,
        deployment__release__isnull=False,
        placement__isnull=False,
    ).exclude(WENT_BACK)
    # By their start: one that waits begins after others that were requested later.
    latest = switched.order_by("-deployment__started_at", "-deployment")
    keys = list(dict.fromkeys(latest.values_list("deployment", flat=True)))[:MOST_DEPLOYMENTS]
    by_deployment: dict[int, list[HostRun]] = {key: [] for key in reversed(keys)}
    for run in switched.filter(deployment__in=keys).select_related("deployment").order_by("pk"):
        by_deployment[run.deployment_id].append(run)
    return by_deployment.values()
