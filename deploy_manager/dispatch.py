"""Waking workers: requests are written, and a message with a row's key is sent after the commit.

What follows an end, and the engines of upgrades and facts, are imported when they are called: a
request costs each command and the first click of a web server's process as little as it needs.

Nothing depends on a message's arrival: if no broker answers the row stays queued, its message says
why no worker was woken, and the next round of `reconcile` wakes one.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import current_app
from django.db import transaction
from django.dispatch import receiver

from deploy_manager.broker import connect, explain
from deploy_manager.conf import get_settings
from deploy_manager.deployments import approvals
from deploy_manager.deployments.gates import waiting_for_checks
from deploy_manager.deployments.request import request as write_request
from deploy_manager.isolation import drop_a_broken_connection
from deploy_manager.logs import log_error
from deploy_manager.models import (
    Approval,
    CommitStatus,
    Deployment,
    Environment,
    OutgoingDelivery,
    PolicyRun,
    Project,
    Resolution,
    Shard,
    State,
    Upgrade,
)
from deploy_manager.models.transactions import after_commit
from deploy_manager.packages.fetching import FETCHED_WITHIN
from deploy_manager.packages.gatherers import Gatherers
from deploy_manager.signals import (
    delivery_due,
    deployment_ended,
    deployment_requested,
    fetch_due,
    policy_run_due,
    resolution_due,
)

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from deploy_manager.upgrades.plan import UpgradePlan

logger = logging.getLogger(__name__)

VOID_AFTER = 15
"""Seconds after which a message to gather facts expires: the next round has sent another one."""

BROKER_TIMEOUT = 5
"""Seconds that a request waits for the broker: a person is waiting for the page."""


def request(environment: Environment, recipe: str = "deploy", **details: Any) -> Deployment:
    """Write a deployment and wake a worker after the commit.

    For arguments and exceptions see `deployments.request.request`.
    """
    with transaction.atomic():
        deployment = write_request(environment, recipe, **details)
        after_commit(wake, deployment.pk)
    return deployment


def decide(deployment: Deployment, user: "User", **details: Any) -> Approval:
    """Write a person's decision about a deployment, and begin it if it has all that it needs.

    For arguments and exceptions see `deployments.approvals.decide`.
    """
    with transaction.atomic():
        approval = approvals.decide(deployment, user, **details)
        _begin_after_commit(deployment)
    return approval


def break_glass(deployment: Deployment, **details: Any) -> None:
    """Let a deployment go without the approvals that it waits for, tell people, and begin it.

    For arguments and exceptions see `deployments.approvals.break_glass`.
    """
    with transaction.atomic():
        approvals.break_glass(deployment, **details)
        tell = partial(_tell_of_request, deployment)
        after_commit(do_alone, tell, deployment)
        _begin_after_commit(deployment)


def _begin_after_commit(deployment: Deployment) -> None:
    act = partial(_promote_next, deployment.environment)
    after_commit(do_alone, act, deployment)


def _promote_next(environment: Environment) -> None:
    from deploy_manager.reconcile import promote_next

    promote_next(environment, wake_for_shard)


def report_status(project: Project, commit: str, context: str, state: str, **details: Any) -> bool:
    """Write what a CI says of a commit, and begin what waited for it after the commit.

    False if a later word is known already. For the details see `CommitStatusQuerySet.report`.
    """
    with transaction.atomic():
        if not CommitStatus.objects.report(project, commit, context, state, **details):
            return False
        for environment in waiting_for_checks(project, commit):
            act = partial(_promote_next, environment)
            after_commit(do_alone, act, environment)
    return True


def request_upgrade(plan: "UpgradePlan", **details: Any) -> Upgrade:
    """Write an upgrade and begin it after the commit.

    For arguments and exceptions see `upgrades.requests.request_upgrade`.
    """
    from deploy_manager.upgrades.requests import request_upgrade as write_upgrade

    with transaction.atomic():
        upgrade = write_upgrade(plan, **details)
        after_commit(advance, upgrade.pk)
    return upgrade


def advance(upgrade_id: int) -> None:
    """Do what is due of an upgrade, and wake workers for the deployments that were written."""
    from deploy_manager.upgrades.progress import advance_upgrade

    for deployment in advance_upgrade(upgrade_id):
        wake(deployment.pk)


def wake(deployment_id: int) -> bool:
    """Wake workers for the queued shards of a deployment; False if no broker answers."""
    queued = Shard.objects.to_claim().filter(deployment=deployment_id)
    # A list: a shard whose message fails must not keep the next ones from theirs.
    woken = [wake_for_shard(pk) for pk in queued.values_list("pk", flat=True)]
    return all(woken)


def wake_for_shard(shard_id: int) -> bool:
    """Wake a worker for a shard; False if the broker can't be reached."""
    # Before it is sent: a worker may claim the shard before the next line.
    Shard.objects.mark_woken(shard_id, timedelta(0))
    why = send("run_shard", shard_id)
    if why:
        from deploy_manager.packages.resolutions import describe_not_woken

        logger.warning("Shard %s is queued, but no worker was woken: %s", shard_id, why)
        Deployment.objects.filter(shards=shard_id, state=State.QUEUED).update(
            message=describe_not_woken(why)
        )
    return not why


def gather() -> Counter[str]:
    """Have workers gather the facts that are due; return how often each thing was asked for."""
    from deploy_manager.packages.gathering import gather as gather_facts
    from deploy_manager.watching import rounds

    return gather_facts(GATHERERS, {rounds.JOB: lambda gatherers: rounds.wake_for_due(_watch)})


def _watch(*placement_ids: int) -> bool:
    # Void when they are due again: another message is sent then.
    why = send("watch", *placement_ids, expires=get_settings().WATCH_EVERY)
    if why:
        logger.warning("No worker was woken to ask servers what runs: %s", why)
    return not why


def _have_gathered(task: str, *keys: int) -> bool:
    """Send a task that gathers facts; one without keys is sent again later, so it expires."""
    why = send(task, *keys) if keys else send(task, expires=VOID_AFTER)
    if why:
        logger.warning("No worker was woken for %s: %s", task, why)
    return not why


GATHERERS = Gatherers(
    take_inventory=partial(_have_gathered, "take_inventory"),
    look_up=partial(_have_gathered, "look_up"),
    audit=partial(_have_gathered, "audit"),
)


def send(task: str, *keys: int, **options: Any) -> str:
    """Send a task of `tasks.py` by its name, with keys of rows; return why that failed, or ""."""
    try:
        with connect(BROKER_TIMEOUT) as connection:
            producer = connection.Producer(auto_declare=False)
            current_app.send_task(
                f"deploy_manager.{task}",
                keys,
                producer=producer,
                # Someone may wait for the page, and `reconcile` sends it again.
                retry=False,
                ignore_result=True,
                **options,
            )
    except Exception as error:
        # The border to the broker: the row is written, whatever error the library raises.
        return explain(error)
    return ""


@receiver(deployment_ended, dispatch_uid="deploy_manager.dispatch")
def _go_on_after(deployment: Deployment, **details: Any) -> None:
    """Notify people, and begin what waited for the end; no error in one stops the next."""
    from deploy_manager.deployments import announcing
    from deploy_manager.packages.gathering import ask_after, ask_servers
    from deploy_manager.upgrades.progress import upgrade_of
    from deploy_manager.watching import rounds

    def notify() -> None:
        notifications = deployment.environment.notifications
        if notifications.exists() and (why := send("notify", deployment.pk)):
            logger.warning("No notification of how %s ended was sent: %s", deployment, why)

    def announce() -> None:
        for delivery in announcing.note_end(deployment):
            _wake_for_delivery(delivery)

    def advance_its_upgrade() -> None:
        if upgrade_id := upgrade_of(deployment):
            advance(upgrade_id)

    for act in (
        notify,
        announce,
        advance_its_upgrade,
        partial(_promote_next, deployment.environment),
        partial(ask_after, deployment),
        partial(ask_servers, GATHERERS),
        partial(rounds.look_again_after, deployment),
    ):
        do_alone(act, deployment)


def do_alone(act: Callable[[], object], row: Deployment | Environment | Upgrade) -> None:
    """Do one of several things that follow a row's change; `reconcile` makes up for an error."""
    try:
        act()
    except Exception:
        # The border of a receiver: an error in one thing does not stop the next.
        log_error(logger, "%s #%s: left to reconcile", row._meta.verbose_name, row.pk)
        drop_a_broken_connection()


@receiver(deployment_requested, dispatch_uid="deploy_manager.dispatch")
def _tell_of_request(deployment: Deployment, **details: Any) -> None:
    """Notify people of what waits for their approval, or goes without it."""
    if not (deployment.approvals_needed or deployment.breaks_glass):
        return
    notifications = deployment.environment.notifications
    if notifications.exists() and (why := send("notify_request", deployment.pk)):
        logger.warning("No notification of the request of %s was sent: %s", deployment, why)


@receiver(policy_run_due, dispatch_uid="deploy_manager.dispatch")
def _wake_for_policy_run(run: PolicyRun, **details: Any) -> None:
    if why := send("run_policy", run.pk):
        logger.warning("%s waits, but no worker was woken: %s", run, why)


@receiver(delivery_due, dispatch_uid="deploy_manager.dispatch")
def _wake_for_delivery(delivery: OutgoingDelivery, **details: Any) -> None:
    # Void when the next round of `reconcile` sends another one.
    if why := send("announce", delivery.pk, expires=VOID_AFTER):
        logger.warning("%s waits, but no worker was woken: %s", delivery, why)


@receiver(resolution_due, dispatch_uid="deploy_manager.dispatch")
def _wake_for_resolution(resolution: Resolution, **details: Any) -> None:
    if why := send("resolve", resolution.pk):
        from deploy_manager.packages.resolutions import note_not_woken

        note_not_woken(resolution, why)
        logger.warning("%s waits, but no worker was woken: %s", resolution, why)


@receiver(fetch_due, dispatch_uid="deploy_manager.dispatch")
def _wake_for_fetch(project: Project, **details: Any) -> str:
    # Who asks waits no longer.
    return send("fetch", project.pk, expires=FETCHED_WITHIN)
