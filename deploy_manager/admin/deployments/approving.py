"""Approvals on the page of a deployment: who has agreed, and the buttons of who may decide."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext

from deploy_manager import dispatch
from deploy_manager.admin.addresses import deployment_url
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.deployments.approvals import (
    APPROVED,
    approvals_that_count,
    digest_of,
    why_not_decide,
)
from deploy_manager.deployments.confirming import changes_of, why_changed
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Approval, Deployment, State
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import may

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True)
class ShownApprovals:
    """What the page says of approvals; of one that has begun, what was decided then."""

    needed: int
    rows: tuple[Approval, ...]
    count: int
    lapsed: frozenset[int]
    """The approvals that do not count any more."""

    is_waiting: bool = False
    expires: str = ""
    why_not: str = ""
    """Why this user may not decide; blank: they may."""

    may_break_glass: bool = False
    changed: str = ""
    """What was changed since it was requested."""

    shown: str = ""


def show_approvals(request: HttpRequest, deployment: Deployment) -> ShownApprovals:
    """Return how the page of a deployment shows its approvals."""
    rows = tuple(deployment.approvals.all()) if deployment.approvals_needed else ()
    if (
        deployment.state != State.WAITING
        or deployment.breaks_glass
        or not (deployment.approvals_needed)
    ):
        given = [row for row in rows if row.decision == APPROVED]
        needed = 0 if deployment.breaks_glass else deployment.approvals_needed
        return ShownApprovals(needed, rows, len(given), frozenset())
    counting = {each.pk for each in approvals_that_count(deployment)}
    changes = changes_of(deployment)
    by = deployment.approve_by
    return ShownApprovals(
        needed=deployment.approvals_needed,
        rows=rows,
        count=len(counting),
        lapsed=frozenset(
            row.pk for row in rows if row.decision == APPROVED and row.pk not in counting
        ),
        is_waiting=True,
        expires=f"{by.astimezone(deployment.environment.zone):%Y-%m-%d %H:%M %Z}" if by else "",
        why_not=str(why_not_decide(deployment, cast("User", request.user))),
        may_break_glass=may(request.user, right_to(deployment.recipe), deployment.environment),
        changed=str(why_changed(changes, deployment.plan)) if changes else "",
        shown=digest_of(deployment),
    )


def approve_view(
    admin: StyledAdmin[Deployment], request: HttpRequest, deployment: Deployment
) -> HttpResponse:
    """Write the user's decision about exactly what the page showed. Raises PermissionDenied."""
    if "_break_glass" in request.POST:
        return _break_glass(admin, request, deployment)
    approves = "_approve" in request.POST
    try:
        dispatch.decide(
            deployment,
            cast("User", request.user),
            approves=approves,
            reason=request.POST.get("reason", ""),
            shown=request.POST.get("shown", "-"),
        )
    except RequestRefused as error:
        messages.error(request, str(error))
    else:
        text = gettext("Approved.") if approves else gettext("Denied.")
        admin.log_change(request, deployment, text)
        messages.success(request, text)
    return HttpResponseRedirect(deployment_url(deployment.pk))


def _break_glass(
    admin: StyledAdmin[Deployment], request: HttpRequest, deployment: Deployment
) -> HttpResponse:
    user, reason = cast("User", request.user), request.POST.get("reason", "")
    try:
        dispatch.break_glass(deployment, by=str(user), user=user, reason=reason)
    except RequestRefused as error:
        messages.error(request, str(error))
    else:
        text = gettext("Break-glass, without approval: %(why)s") % {"why": reason}
        admin.log_change(request, deployment, text)
        messages.warning(request, text)
    return HttpResponseRedirect(deployment_url(deployment.pk))
