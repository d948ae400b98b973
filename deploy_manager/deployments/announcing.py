"""Announcing: outgoing webhooks are told how deployments ended, again and again until they know."""

from datetime import timedelta

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.notes import notes_of
from deploy_manager.deployments.notifying import title_of
from deploy_manager.exceptions import WebhookFailed
from deploy_manager.isolation import explain, forget, isolated, one_by_one
from deploy_manager.logs import mask_text
from deploy_manager.masking import masking
from deploy_manager.messages import Message
from deploy_manager.models import (
    LIVE,
    Deployment,
    OutgoingDelivery,
    OutgoingWebhook,
    Problem,
    State,
)
from deploy_manager.notifications.webhooks import Ended, calls_for, send
from deploy_manager.row_checks import check_row
from deploy_manager.signals import delivery_due
from deploy_manager.site_secrets import open_webhook

JOB = "noted what webhooks are told"
"""Its name among the jobs of `reconcile`."""

SENT = "sent webhooks"
"""The job of workers. It has no rounds: a problem stays until a message arrives."""

PAUSES = tuple(
    timedelta(seconds=each)
    for each in (5, 60, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 24 * 3600)
)
"""After each attempt that failed, until the next; after the last of them it is given up."""

TAKES_AT_MOST = timedelta(minutes=2)
"""An attempt of which nothing is heard for so long is made again: its worker is gone."""

MADE_UP_FOR = timedelta(minutes=15)
"""Ends that nobody noted are made up for if they are not older."""


def note_end(deployment: Deployment) -> list[OutgoingDelivery]:
    """Write a message for each webhook that wants to know; those that were there are left out."""
    wanted = deployment.environment.outgoing_webhooks.filter(is_enabled=True)
    made = []
    for webhook in wanted:
        if not _wants(webhook, deployment):
            continue
        delivery, is_new = OutgoingDelivery.objects.get_or_create(
            webhook=webhook, deployment=deployment
        )
        made += [delivery] if is_new else []
    return made


def keep_announcing() -> int:
    """Make up for ends that nobody noted, and have sent what is due; return how many are."""
    one_by_one(JOB, _unnoted(), note_end, "environment")
    off = OutgoingWebhook.objects.filter(is_enabled=False).values("pk")
    kind = OutgoingWebhook._meta.model_name or ""
    Problem.objects.filter(job=SENT, kind=kind, key__in=off).delete()
    due = OutgoingDelivery.objects.due().filter(webhook__is_enabled=True)
    return len(one_by_one(JOB, due, _wake_for, "webhook__environment"))


def deliver(delivery_id: int) -> bool:
    """Send one message if it is due; whether it arrived. An error is kept, and stops no other."""
    delivery = _claim(delivery_id)
    if delivery is None:
        return False
    webhook = delivery.webhook
    with isolated(SENT, OutgoingWebhook, webhook.pk, webhook.environment_id):
        try:
            _send(delivery)
        except Exception as error:
            # The border to somebody else's server, and to rows that anybody may have written.
            _note_failure(delivery, explain(error))
            raise
        sent = {"delivered_at": timezone.now(), "next_at": None, "problem": ""}
        OutgoingDelivery.objects.filter(pk=delivery.pk).update(**sent)
        forget(SENT, webhook)
        return True
    return False


def _wants(webhook: OutgoingWebhook, deployment: Deployment) -> bool:
    if deployment.state not in webhook.states:
        return False
    if deployment.finished_at is None or deployment.finished_at < webhook.created_at:
        return False
    # For Sentry a release is what serves: of what failed nothing does.
    is_release = deployment.state == State.SUCCEEDED and deployment.release_id is not None
    return webhook.form != OutgoingWebhook.Form.SENTRY or is_release


def _unnoted() -> QuerySet[Deployment]:
    """Deployments that ended a while ago, on environments that have a webhook not told of them."""
    of_it, its_end = OuterRef(OuterRef("pk")), OuterRef("finished_at")
    told = OutgoingDelivery.objects.filter(webhook=OuterRef("pk"), deployment=of_it)
    untold = OutgoingWebhook.objects.filter(
        ~Exists(told),
        environment=OuterRef("environment"),
        is_enabled=True,
        created_at__lte=its_end,
    )
    recent = Q(finished_at__gt=timezone.now() - MADE_UP_FOR)
    return Deployment.objects.exclude(state__in=LIVE).filter(recent, Exists(untold))


def _wake_for(delivery: OutgoingDelivery) -> None:
    delivery_due.send(OutgoingDelivery, delivery=delivery)


def _claim(delivery_id: int) -> OutgoingDelivery | None:
    """Take one that is due, so that nobody else sends it at the same time; None: it is not."""
    due = OutgoingDelivery.objects.due().filter(pk=delivery_id, webhook__is_enabled=True)
    mine = OutgoingDelivery.objects.filter(pk__in=due.values("pk"), next_at__lte=timezone.now())
    if not mine.update(attempts=F("attempts") + 1, next_at=timezone.now() + TAKES_AT_MOST):
        return None
    related = ("webhook__environment__project", "deployment__environment__project")
    return OutgoingDelivery.objects.select_related(*related).get(pk=delivery_id)


def _note_failure(delivery: OutgoingDelivery, why: Message) -> None:
    is_last = delivery.attempts > len(PAUSES)
    next_at = None if is_last else timezone.now() + PAUSES[delivery.attempts - 1]
    if is_last:
        why = Message(_("Given up: %(why)s"), why=why)
    mine = OutgoingDelivery.objects.filter(pk=delivery.pk, delivered_at=None)
    mine.update(next_at=next_at, problem=why)


def _send(delivery: OutgoingDelivery) -> None:
    """Send it, now. Raises WebhookFailed and other errors of ours."""
    webhook = delivery.webhook
    check_row(webhook)
    secret = open_webhook(webhook)
    with masking([secret]), translation.override(settings.LANGUAGE_CODE):
        ended = facts_of(delivery.deployment)
        try:
            send(calls_for(webhook.form, webhook.url, secret.value, str(delivery.key), ended))
        except WebhookFailed as error:
            raise WebhookFailed(
                _("%(name)s (%(form)s), #%(number)d: %(why)s"),
                name=webhook.name,
                form=webhook.form,
                number=delivery.deployment_id,
                why=error.message,
            ) from None


def facts_of(deployment: Deployment) -> Ended:
    """Return all that is told of a deployment."""
    notes = notes_of(deployment).as_json()
    runs = deployment.host_runs.order_by("pk").values_list("server_name", "state")
    release = deployment.release
    return Ended(
        number=deployment.pk,
        project=deployment.environment.project.name,
        environment=str(deployment.environment),
        recipe=deployment.recipe,
        state=deployment.state,
        commit=notes["after"],
        requested_at=deployment.created_at,
        started_at=deployment.started_at,
        finished_at=deployment.finished_at,
        commits=notes["commits"],
        title=title_of(deployment),
        facts={
            "ref": deployment.ref,
            "release": release.name if release else "",
            "source": deployment.source,
            "requested_by": deployment.requested_by_name,
            "reason": mask_text(deployment.reason),
            "message": str(deployment.message),
            "requested_at": deployment.created_at.isoformat(),
            "started_at": deployment.started_at and deployment.started_at.isoformat(),
            "finished_at": deployment.finished_at and deployment.finished_at.isoformat(),
            "servers": [{"name": name, "state": state} for name, state in runs],
            "previous_commit": notes["before"],
            "commits": notes["commits"],
            "taken_back": notes["taken_back"],
            "notes": notes["markdown"],
        },
    )
