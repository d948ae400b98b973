"""Owners of schedules, policies and webhooks: these act in a person's name, with their rights.

The right is checked when one is saved and each time it acts. Without a valid owner, or if somebody
without the right has edited what decides what would run, it is paused and says so; others go on.
"""

import hashlib
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext_noop as _

from deploy_manager.auditing import noting, record_change
from deploy_manager.deployments.confirming import (
    changed_since,
    confirm,
    described_for,
    why_changed,
)
from deploy_manager.exceptions import Paused, PlanChanged, RequestRefused
from deploy_manager.messages import Message, few
from deploy_manager.models import (
    Environment,
    IncomingWebhook,
    PolicyEnvironment,
    Schedule,
    UpgradePolicy,
)
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

Actor = Schedule | UpgradePolicy | IncomingWebhook

NO_OWNER = _("It has no owner: somebody with the right has to take it over.")
OWNER_GONE = _(
    "%(who)s, its owner, has no active account any more: somebody with the right has to take it"
    " over."
)
MAY_NOT = _(
    "%(who)s, its owner, may not do this on %(sites)s: somebody with the right has to take it over."
)
UNCONFIRMED = _("Nobody with the right has confirmed it as it is.")


def sites_it_may_not(user: "User | AnonymousUser", actor: Actor) -> list[Environment]:
    """Return the environments on which a user may not do what an actor does."""
    if isinstance(actor, Schedule):
        is_allowed = may(user, right_to(actor.recipe), actor.environment)
        return [] if is_allowed else [actor.environment]
    if isinstance(actor, IncomingWebhook):
        sites = actor.environments.select_related("project")
        return [each for each in sites if not may(user, Right.DEPLOY, each)]
    turns = actor.turns.select_related("environment__project")
    return [each.environment for each in turns if not may(user, Right.UPGRADE, each.environment)]


def why_no_owner(actor: Actor) -> Message:
    """Return why nobody stands in for what an actor does; blank: its owner does."""
    owner = actor.owner
    if owner is None and not actor.owner_name:
        return Message(NO_OWNER, "owner_missing")
    if owner is None or not owner.is_active:
        return Message(OWNER_GONE, "owner_missing", who=actor.owner_name)
    if sites := sites_it_may_not(owner, actor):
        return Message(
            MAY_NOT, "owner_may_not", who=owner, sites=few([str(each) for each in sites])
        )
    return Message()


def why_unconfirmed(actor: Actor) -> Message:
    """Return what was changed since it was confirmed; blank: all is as it was."""
    lines = []
    for holder in holders_of(actor):
        if holder.plan is None:
            lines.append(Message(UNCONFIRMED, "plan_changed"))
        elif changes := changed_since(holder):
            lines.append(why_changed(changes, holder.plan))
    return Message.lines(*dict.fromkeys(lines))


def why_paused(actor: Actor) -> Message:
    """Return why an actor has to do nothing now; blank: it may act."""
    return Message.lines(*filter(None, (why_no_owner(actor), why_unconfirmed(actor))))


def see_to(actor: Actor) -> None:
    """Note on its row whether an actor is paused. Raises Paused if it is."""
    why = why_paused(actor)
    if why != actor.paused:
        type(actor).objects.filter(pk=actor.pk).update(paused=why)
        actor.paused = why
    if why:
        raise Paused(Message(_("Paused. %(why)s"), why=why))


def shown_of(actor: Actor) -> str:
    """Return the digest of what a person sees who looks at an actor now."""
    digests = [described_for(holder).digest for holder in holders_of(actor)]
    if isinstance(actor, IncomingWebhook):
        # Each push is a request of its own: what counts is for which code, and where.
        sites = actor.environments.order_by("pk").values_list("pk", flat=True)
        digests = [actor.kind, str(actor.project_id), *map(str, sites)]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def take_over(actor: Actor, user: "User", shown: str = "") -> None:
    """Make a user the owner, and what decides now what is confirmed.

    `shown` is the digest of what they were shown; blank: what is now. Raises RequestRefused if they
    may not do there what it does, PlanChanged if it is not as shown any more.
    """
    refuse_as_owner(actor, user)
    _refuse_unseen(actor, shown)
    with transaction.atomic():
        actor.give_to(user)
        _let_act(actor, owner=user, owner_name=actor.owner_name)


def confirm_by(actor: Actor, user: "User", shown: str = "") -> None:
    """Let what decides now be what is confirmed; its owner stays. Raises as `take_over`.

    Where people approve, who confirms becomes the owner: nobody may approve what they confirmed.
    """
    needs_approval = any(each.environment.approvals_needed for each in holders_of(actor))
    if needs_approval and user.pk != actor.owner_id:
        take_over(actor, user, shown)
    else:
        refuse_as_owner(actor, user)
        _refuse_unseen(actor, shown)
        with transaction.atomic():
            _let_act(actor)


def _refuse_unseen(actor: Actor, shown: str) -> None:
    if shown and shown != shown_of(actor):
        raise PlanChanged(_("It has changed since it was shown: look at it again."))


def refuse_as_owner(actor: Actor, user: "User") -> None:
    """Raise RequestRefused if a user may not do what an actor does."""
    sites = sites_it_may_not(user, actor)
    if not user.is_active or sites:
        raise RequestRefused(
            _("%(who)s may not do this on %(sites)s."),
            "owner_may_not",
            who=user,
            sites=few([str(each) for each in sites]) or actor,
        )


def _let_act(actor: Actor, **fields: object) -> None:
    # First the row, which is itself a part of what is confirmed.
    if isinstance(actor, Schedule):
        fields = {**fields, "outcome": ""}
    with noting(type(actor).objects.filter(pk=actor.pk)):
        if fields:
            type(actor).objects.filter(pk=actor.pk).update(**fields)
    for holder in holders_of(actor):
        confirm(holder)
    fresh = type(actor).objects.select_related("owner").get(pk=actor.pk)
    type(actor).objects.filter(pk=actor.pk).update(paused=why_paused(fresh))
    actor.refresh_from_db()
    record_change(actor, {}, {"confirmed": shown_of(actor)[:12]})


def confirm_what_is_new(actor: Actor) -> None:
    """Confirm what nobody has confirmed yet: for one that was saved by a person with the right."""
    for holder in holders_of(actor):
        if holder.plan is None:
            confirm(holder)
    fresh = type(actor).objects.select_related("owner", *_related(actor)).get(pk=actor.pk)
    type(actor).objects.filter(pk=actor.pk).update(paused=why_paused(fresh))


def _related(actor: Actor) -> tuple[str, ...]:
    return ("plan", "environment__project") if isinstance(actor, Schedule) else ()


def holders_of(actor: Actor) -> list[Schedule | PolicyEnvironment]:
    """Return the rows that keep what was confirmed of an actor."""
    if isinstance(actor, Schedule):
        return [actor]
    if isinstance(actor, IncomingWebhook):
        return []
    return list(actor.turns.select_related("policy", "plan", "environment__project"))
