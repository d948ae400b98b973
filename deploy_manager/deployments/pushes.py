"""Pushes: what a forge's webhook asks for, as ordinary requests in the name of its owner.

Nothing is fetched here: a web process answers a forge within seconds. What only the repository can
tell, a worker asks before any server is touched (see pushed.py).
"""

from collections.abc import Callable, Iterable
from datetime import timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.owners import see_to
from deploy_manager.deployments.pushed import SOURCE, is_known_to_contain
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.exceptions import DeployManagerError, Paused
from deploy_manager.forges.said import Push
from deploy_manager.isolation import explain
from deploy_manager.messages import Message
from deploy_manager.models import LIVE, Deployment, Environment, IncomingWebhook, Release, State
from deploy_manager.models.deployments import DEPLOY
from deploy_manager.refs import is_ref_name

WAITS_FOR = timedelta(hours=24)
"""For so long a pushed commit waits for its turn, its approvals or an allowed time."""

Wake = Callable[[Deployment], object]


def deploy_push(webhook: IncomingWebhook, push: Push, wake: Wake) -> Message:
    """Request a deployment of each environment of a webhook that follows the pushed branch.

    Returns what came of it. `wake` is called with each request. A refusal on one environment stops
    no other.
    """
    if why := _why_nothing(push):
        return why
    sites = webhook.environments.select_related("project").order_by("pk")
    # By the project, too: an environment may have been moved to another one since.
    following = list(sites.filter(project=webhook.project_id, ref=push.branch))
    if not following:
        return Message(
            _("Nothing to do: none of its environments follows the branch %(branch)s."),
            branch=push.branch,
        )
    try:
        see_to(webhook)
    except Paused as error:
        return error.message
    return Message.lines(*(_deploy(webhook, push, each, wake) for each in following))


def _why_nothing(push: Push) -> Message:
    """Return why a push deploys nothing anywhere; blank: it may."""
    if not push.branch:
        return Message(_("Nothing to do: %(ref)s is not a branch."), ref=push.ref)
    if push.deleted:
        return Message(_("Nothing to do: the branch %(branch)s was deleted."), branch=push.branch)
    if not is_ref_name(push.branch):
        return Message(_("Nothing to do: the branch has a name that git would not take."))
    return Message()


def _deploy(webhook: IncomingWebhook, push: Push, site: Environment, wake: Wake) -> Message:
    """Request the deployment of one environment, if it has none of this commit yet."""
    if found := _find(site, push.after):
        return _describe_known(found)
    if why := _why_behind(push, site):
        return why
    try:
        # A savepoint: after a database error the outcome could not be written otherwise.
        with transaction.atomic():
            made = _request(webhook, push, site)
    except (DeployManagerError, PermissionDenied) as error:
        # Another delivery was faster: the constraint let only one in.
        if found := _find(site, push.after):
            return _describe_known(found)
        return Message(_("%(site)s: nothing was requested: %(why)s"), site=site, why=explain(error))
    _let_older_give_way(push, made)
    wake(made)
    words = {"site": site, "number": made.pk, "commit": push.after[:8]}
    if made.state == State.WAITING:
        text = _("%(site)s: #%(number)d deploys %(commit)s. It waits: %(why)s")
        return Message(text, why=made.message, **words).with_code("")
    return Message(_("%(site)s: #%(number)d deploys %(commit)s."), **words)


def _request(webhook: IncomingWebhook, push: Push, site: Environment) -> Deployment:
    return request(
        site,
        DEPLOY,
        source=SOURCE,
        requested_by_name=webhook.acts_as,
        user=webhook.owner,
        options=DeploymentOptions(
            ref=push.branch,
            commit=push.after,
            reason=_reason(push),
            waits=True,
            deadline=timezone.now() + WAITS_FOR,
            webhook=webhook,
        ),
    )


def _reason(push: Push) -> str:
    # As it was pushed, in no language: the name of a branch and of an account.
    return f"push to {push.branch} by {push.pusher}" if push.pusher else f"push to {push.branch}"


def _find(site: Environment, commit: str) -> Deployment | None:
    """Return what a push of this commit has requested there already."""
    found = site.deployments.filter(source=SOURCE, commit=commit, retry_of=None)
    return found.first()


def _describe_known(known: Deployment) -> Message:
    return Message(
        _("%(site)s: nothing to do, %(commit)s was requested already as #%(number)d."),
        site=known.environment,
        commit=known.commit[:8],
        number=known.pk,
    )


def _why_behind(push: Push, site: Environment) -> Message:
    """Return why a push brings nothing new: what serves or comes is known to contain it.

    Deliveries arrive in any order. What is not known here a worker finds out.
    """
    words = {"site": site, "commit": push.after[:8]}
    for each in _pushed(site, *LIVE):
        if is_known_to_contain(site, each.commit, push.after):
            text = _("%(site)s: nothing to do, %(commit)s is part of what %(newer)s brings.")
            return Message(text, newer=each, **words)
    serving = Release.objects.filter(active_on__environment=site).exclude(commit=push.after)
    for release in serving.distinct():
        if is_known_to_contain(site, release.commit, push.after):
            text = _("%(site)s: nothing to do, %(commit)s is older than what serves, %(release)s.")
            return Message(text, release=release.name, **words)
    return Message()


def _let_older_give_way(push: Push, made: Deployment) -> None:
    """Cancel what older pushes wait with: their commits come with this one."""
    why = Message(_("Overtaken by a newer push: %(newer)s."), "cancelled", newer=made)
    for each in _pushed(made.environment, State.WAITING):
        if each.pk != made.pk and _comes_after(push, made.environment, each.commit):
            each.give_way(why)


def _comes_after(push: Push, site: Environment, commit: str) -> bool:
    # What was pushed on top of it, or in its place, is what the branch is now.
    named = commit == push.before or commit in push.commits
    return named or is_known_to_contain(site, push.after, commit)


def _pushed(site: Environment, *states: State) -> Iterable[Deployment]:
    """Return what pushes have requested there and is in one of these states."""
    found = site.deployments.filter(source=SOURCE, state__in=states, recipe=DEPLOY)
    return found.select_related("environment__project").order_by("pk")
