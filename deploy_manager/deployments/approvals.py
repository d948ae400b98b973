"""Approvals: other people agree before what serves may change; see docs/approvals.md.

An approval is a row that is bound to what exactly was approved. It counts as long as that is what
would run, and as long as its author may approve: that is asked again until the deployment begins.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.confirming import refuse_what_changed
from deploy_manager.exceptions import RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message, few
from deploy_manager.models import Approval, Deployment, Environment, Release, State, Step
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.recipes import Pipeline, Uses
from deploy_manager.recipes.tiers import TIER_RECIPES, preview_tiers, test_tiers

if TYPE_CHECKING:
    from django.contrib.auth.models import User

ONLY_LOOKING = frozenset({preview_tiers.__name__, test_tiers.__name__})

NEEDS_REASON = _("Break-glass needs a reason, which everybody will read.")

APPROVED, DENIED = Approval.Decision.APPROVED, Approval.Decision.DENIED


class Asked(Protocol):
    """What the options of a request say about approvals."""

    @property
    def breaks_glass(self) -> bool: ...
    @property
    def returns(self) -> bool: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class Needed:
    """How many approvals a request needs, until when, and whether it goes without them."""

    needed: int = 0
    by: datetime | None = None
    breaks_glass: bool = False
    zone_of: Environment | None = None

    @property
    def are_missing(self) -> bool:
        return bool(self.needed) and not self.breaks_glass


def approvals_for(environment: Environment, pipeline: Pipeline, asked: Asked) -> Needed:
    """Return what a request needs on an environment.

    Raises RequestRefused for break-glass without a reason.
    """
    needed = environment.approvals_needed if needs_approval(pipeline) else 0
    if not needed or asked.returns:
        return Needed()
    if asked.breaks_glass:
        if not asked.reason.strip():
            raise RequestRefused(NEEDS_REASON)
        return Needed(needed, None, True, environment)
    by = timezone.now() + timedelta(hours=environment.approval_hours)
    return Needed(needed, by, False, environment)


def needs_approval(pipeline: Pipeline) -> bool:
    """Whether a pipeline is of those that environments can demand approvals for.

    What a freeze holds up, and what changes the tiers: all else leaves what serves as it is.
    """
    names = {recipe.name for recipe in pipeline.recipes}
    return pipeline.uses is not Uses.CURRENT or bool(names & TIER_RECIPES - ONLY_LOOKING)


def describe_wait(approvals: Needed) -> Message:
    """Return what a new request waits for; blank: for no approval."""
    if not approvals.are_missing:
        return Message()
    return _waits(approvals.needed, [], approvals.by, approvals.zone_of)


def digest_of(deployment: Deployment) -> str:
    """Return the hash of all that people approve: what decides, what is sent, and each step."""
    release: Release | None = deployment.release
    steps = Step.objects.filter(host_run__deployment=deployment).order_by("host_run", "number")
    said = {
        "plan": deployment.plan.digest if deployment.plan else "",
        "recipe": deployment.recipe,
        "ref": deployment.ref,
        "commit": deployment.commit,
        "lock": release.lock.digest if release else "",
        "release": release.name if release else "",
        "arguments": deployment.arguments,
        "forced_migrations": deployment.forced_migrations,
        "take_back": deployment.take_back,
        "steps": list(steps.values_list("host_run__server_name", "stage", "recipe")),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def approvals_that_count(deployment: Deployment) -> list[Approval]:
    """Return the approvals that count now, one for each person."""
    given = deployment.approvals.filter(decision=APPROVED, digest=digest_of(deployment))
    return [
        each
        for each in given.select_related("user")
        if each.user is not None
        and each.user_id != deployment.requested_by_id
        and may(each.user, Right.APPROVE, deployment.environment)
    ]


def why_not_approved(deployment: Deployment) -> Message:
    """Return what it waits for; blank: it needs no approvals, or has enough."""
    if not deployment.approvals_needed or deployment.breaks_glass:
        return Message()
    given = approvals_that_count(deployment)
    if len(given) >= deployment.approvals_needed:
        return Message()
    by = deployment.approve_by
    return _waits(deployment.approvals_needed, given, by, deployment.environment)


def _waits(
    needed: int, given: list[Approval], by: datetime | None, environment: Environment | None
) -> Message:
    code, words = "waits_for_approval", {"given": len(given), "needed": needed}
    waits = Message(_("Waits for approval: %(given)d of %(needed)d."), code, **words)
    if given:
        who = few([each.user_name for each in given])
        text = _("Waits for approval: %(given)d of %(needed)d, by %(who)s.")
        waits = Message(text, code, who=who, **words)
    if by is None or environment is None:
        return waits
    until = f"{by.astimezone(environment.zone):%Y-%m-%d %H:%M %Z}"
    return Message(_("%(waits)s It expires %(until)s."), waits=waits, until=until)


def waiting_for_approval() -> QuerySet[Deployment]:
    """Return the deployments that wait and need approvals: some may have them all."""
    waiting = Deployment.objects.filter(state=State.WAITING, approvals_needed__gt=0)
    return waiting.filter(breaks_glass=False).select_related("environment__project")


def why_not_decide(deployment: Deployment, user: "User") -> Message:
    """Return why a user may not decide about a deployment; blank: they may."""
    if deployment.state != State.WAITING or not deployment.approvals_needed:
        return Message(_("It does not wait for approval."))
    if not may(user, Right.APPROVE, deployment.environment):
        return Message(_("You may not approve on %(site)s."), site=deployment.environment)
    if user.pk == deployment.requested_by_id:
        return Message(
            _(
                "You requested it, or own the schedule or policy that did: another person has to"
                " approve it."
            )
        )
    return Message()


def decide(
    deployment: Deployment, user: "User", *, approves: bool, reason: str = "", shown: str = ""
) -> Approval:
    """Write a person's approval, or their denial, which ends the deployment.

    `shown` is the digest of what they were shown; blank: what waits now. Raises PermissionDenied,
    PlanChanged if it would not run as requested, and RequestRefused: it does not wait any more, is
    their own, has expired, or they have decided already.
    """
    if not may(user, Right.APPROVE, deployment.environment):
        raise PermissionDenied(f"{user} may not approve on {deployment.environment}.")
    try:
        with brief_transaction():
            return _decide(deployment, user, approves, mask_text(reason)[:500], shown)
    except IntegrityError:
        raise RequestRefused(_("You have decided about this already.")) from None


def _decide(
    deployment: Deployment, user: "User", approves: bool, reason: str, shown: str
) -> Approval:
    waiting = Deployment.objects.filter(pk=deployment.pk, state=State.WAITING)
    # Locks the row: of two decisions, or a decision and a worker, one comes first.
    if not waiting.update(sequence=F("sequence") + 1):
        raise RequestRefused(_("It does not wait for approval any more."))
    row = Deployment.objects.select_related("environment__project", "plan", "release__lock")
    deployment = row.get(pk=deployment.pk)
    if why := why_not_decide(deployment, user):
        raise RequestRefused(why)
    digest = digest_of(deployment)
    if shown and shown != digest:
        raise RequestRefused(
            Message(_("It has changed since it was shown: look at it again."), "plan_changed")
        )
    if approves:
        refuse_what_changed(deployment)
        if _is_late(deployment):
            raise RequestRefused(_("The time to approve it is over."), "approval_expired")
    approval: Approval = deployment.approvals.create(
        user=user,
        user_name=str(user)[:200],
        decision=APPROVED if approves else DENIED,
        reason=reason,
        digest=digest,
    )
    if why := why_not_approved(deployment):
        Deployment.objects.note_wait(deployment.pk, why)
    if not approves:
        text = _("Denied by %(who)s: %(reason)s") if reason else _("Denied by %(who)s.")
        deployment.give_way(Message(text, "denied", who=user, reason=reason))
    return approval


def break_glass(
    deployment: Deployment, *, by: str, reason: str, user: "User | None" = None
) -> None:
    """Let a deployment that waits for approval go without; everybody is told who, and why.

    No user means a command line, which is trusted. Raises PermissionDenied, and RequestRefused
    without a reason, if it does not wait, or if it would not run as it was requested.
    """
    site = deployment.environment
    if user is not None and not may(user, right_to(deployment.recipe), site):
        raise PermissionDenied(f"{user} may not deploy {site}.")
    if not (reason := mask_text(reason).strip()[:500]):
        raise RequestRefused(NEEDS_REASON)
    with brief_transaction():
        waiting = waiting_for_approval().filter(pk=deployment.pk)
        if not waiting.update(breaks_glass=True, sequence=F("sequence") + 1):
            raise RequestRefused(_("It does not wait for approval any more."))
        # It would be stopped for that as soon as it began, after everybody had been told.
        refuse_what_changed(deployment)
        deployment.approvals.create(
            user=user,
            user_name=by[:200],
            decision=Approval.Decision.GLASS,
            reason=reason,
            digest=digest_of(deployment),
        )
    deployment.breaks_glass = True


def _is_late(deployment: Deployment) -> bool:
    by = deployment.approve_by
    return by is not None and by <= timezone.now() and bool(why_not_approved(deployment))


def expire(deployment: Deployment) -> bool:
    """End a deployment that was not approved in time; False if it was, or has time left."""
    with brief_transaction():
        waiting = Deployment.objects.filter(pk=deployment.pk, state=State.WAITING)
        if not waiting.update(sequence=F("sequence") + 1):
            return False
        # Under the lock: the last approval may have come this moment.
        found = waiting.select_related("environment__project", "plan", "release__lock").get()
        if not _is_late(found):
            return False
        words = {"given": len(approvals_that_count(found)), "needed": found.approvals_needed}
        text = _("Not approved in time, which counts as denied: %(given)d of %(needed)d.")
        return found.give_way(Message(text, "approval_expired", **words))
