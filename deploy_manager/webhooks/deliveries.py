"""Genuine deliveries: each is written down once, and what it asks for is done once."""

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.owners import why_no_owner
from deploy_manager.deployments.pushes import deploy_push
from deploy_manager.dispatch import report_status, wake
from deploy_manager.forges.said import Event, Push, Status
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, IncomingWebhook, WebhookDelivery
from deploy_manager.models.rights import Right, may
from deploy_manager.models.transactions import after_commit


def take(webhook: IncomingWebhook, key: str, event: Event) -> Message:
    """Do what a delivery asks for, and return what came of it.

    A delivery that was taken before, or is at this moment, is answered as it was then.
    """
    # In one transaction: if this process dies the forge's next attempt finds nothing done.
    try:
        with transaction.atomic():
            made = _write(webhook, key, event)
            outcome = _do(webhook, event.said)
            WebhookDelivery.objects.filter(pk=made.pk).update(outcome=outcome)
            mine = IncomingWebhook.objects.filter(pk=webhook.pk)
            mine.update(received_at=timezone.now(), outcome=outcome)
    except _TakenError:
        outcome = WebhookDelivery.objects.get(webhook=webhook, delivery=key).outcome
    return outcome


class _TakenError(Exception):
    """Another process has taken the same delivery."""


def _write(webhook: IncomingWebhook, key: str, event: Event) -> WebhookDelivery:
    said = event.said
    commit = said.after if isinstance(said, Push) else said.commit if said else ""
    try:
        # A savepoint: no other error of the database is to be taken for a replay.
        with transaction.atomic():
            return WebhookDelivery.objects.create(
                webhook=webhook, delivery=key, event=event.name[:50], commit=commit
            )
    except IntegrityError:
        raise _TakenError from None


def _do(webhook: IncomingWebhook, said: Push | Status | None) -> Message:
    if isinstance(said, Push):
        return deploy_push(webhook, said, _wake_after_commit)
    if isinstance(said, Status):
        return _report(webhook, said)
    return Message(_("Nothing to do: this event concerns no deployment."))


def _wake_after_commit(deployment: Deployment) -> None:
    after_commit(wake, deployment.pk)


def _report(webhook: IncomingWebhook, status: Status) -> Message:
    """Note what a CI says of a commit, in the name of the webhook's owner."""
    if why := why_no_owner(webhook):
        return why
    if not may(webhook.owner, Right.REPORT, webhook.project):
        return Message(
            _("%(who)s, its owner, may not report the states of commits of %(project)s."),
            "owner_may_not",
            who=webhook.owner_name,
            project=webhook.project,
        )
    now = timezone.now()
    is_news = report_status(
        webhook.project,
        status.commit,
        status.context,
        status.state,
        # A clock that is ahead must not keep later words out.
        at=min(status.at or now, now),
        url=status.url,
        description=status.description,
        reported_by_name=webhook.acts_as,
    )
    words = {"context": status.context, "commit": status.commit[:8], "state": status.state}
    if not is_news:
        return Message(
            _("Nothing to do: later words of %(context)s on %(commit)s are known."), **words
        )
    return Message(_("Noted: %(context)s of %(commit)s is %(state)s."), **words)
