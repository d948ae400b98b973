"""Write a request and wake workers after the commit. A message names a row; the row says the rest.

Nothing depends on a message's arrival: where no broker answers the row stays queued, its message
says why nobody was woken, and the next round of `reconcile` wakes a worker.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from celery import current_app
from django.db import transaction
from django.dispatch import receiver

from deploy_manager.broker import connect, explain
from deploy_manager.deployments.request import request as write_request
from deploy_manager.isolation import drop_a_broken_connection
from deploy_manager.models import (
    Deployment,
    Environment,
    PolicyRun,
    Resolution,
    Shard,
    State,
    Upgrade,
)
from deploy_manager.packages.gathering import Gatherers, ask_after, ask_servers
from deploy_manager.packages.gathering import gather as gather_facts
from deploy_manager.packages.resolutions import note_untold
from deploy_manager.reconcile import promote_next
from deploy_manager.signals import deployment_ended, policy_run_due, resolution_due
from deploy_manager.upgrades.plan import UpgradePlan
from deploy_manager.upgrades.progress import advance_upgrade, upgrade_of
from deploy_manager.upgrades.requests import request_upgrade as write_upgrade

logger = logging.getLogger(__name__)

VOID_AFTER = 15
"""Seconds after which a message to gather facts is void: the next round has sent another one."""

BROKER_TIMEOUT = 5
"""Seconds that a request waits for the broker: somebody waits for its page."""


def request(environment: Environment, recipe: str = "deploy", **details: Any) -> Deployment:
    """Write a deployment and wake a worker after the commit.

    Takes and raises what `deployments.request` does.
    """
    with transaction.atomic():
        deployment = write_request(environment, recipe, **details)
        transaction.on_commit(partial(wake, deployment.pk), robust=True)
    return deployment


def request_upgrade(plan: UpgradePlan, **details: Any) -> Upgrade:
    """Write an upgrade and begin it after the commit.

    Takes and raises what `upgrades.requests` does.
    """
    with transaction.atomic():
        upgrade = write_upgrade(plan, **details)
        transaction.on_commit(partial(advance, upgrade.pk), robust=True)
    return upgrade


def advance(upgrade_id: int) -> None:
    """Do what is due of an upgrade, and wake workers for the deployments which that wrote."""
    for deployment in advance_upgrade(upgrade_id):
        wake(deployment.pk)


def wake(deployment_id: int) -> bool:
    """Wake workers for what is queued of a deployment; False where no broker answers."""
    queued = Shard.objects.to_claim().filter(deployment=deployment_id)
    woken = [wake_for_shard(pk) for pk in queued.values_list("pk", flat=True)]
    return all(woken)


def wake_for_shard(shard_id: int) -> bool:
    """Wake a worker for a shard; False where the broker can't be reached."""
    Shard.objects.mark_woken(shard_id, timedelta(0))
    why = send("run_shard", shard_id)
    if why:
        logger.warning("Shard %s is queued, but no worker was woken: %s", shard_id, why)
        Deployment.objects.filter(shards=shard_id, state=State.QUEUED).update(
            message=f"No worker could be told: {why}"
        )
    return not why


def gather() -> Counter[str]:
    """Have workers gather the facts that are due; return how often each thing was asked for."""
    return gather_facts(GATHERERS)


def _have_gathered(task: str, *keys: int) -> bool:
    """Send a task that gathers facts; what nobody takes in time is void, for it is sent again."""
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
    """Send a task of `tasks.py` by its name, about rows or none; return why it could not be."""
    try:
        with connect(BROKER_TIMEOUT) as connection:
            producer = connection.Producer(auto_declare=False)
            current_app.send_task(
                f"deploy_manager.{task}",
                keys,
                producer=producer,
                retry=False,
                ignore_result=True,
                **options,
            )
    except Exception as error:
        # The border to the broker: the row is written, whatever its library raises.
        return explain(error)
    return ""


@receiver(deployment_ended, dispatch_uid="deploy_manager.dispatch")
def _go_on_after(deployment: Deployment, **details: Any) -> None:
    """Notify people, and begin what waited for the end: each for itself."""
    for act in (
        partial(_have_notified, deployment),
        partial(_advance_after, deployment),
        partial(promote_next, deployment.environment, wake_for_shard),
        partial(ask_after, deployment),
        partial(ask_servers, GATHERERS),
    ):
        do_alone(act, deployment)


def _have_notified(deployment: Deployment) -> None:
    if deployment.environment.notifications.exists() and (why := send("notify", deployment.pk)):
        logger.warning("Nobody is notified how %s ended: %s", deployment, why)


def _advance_after(deployment: Deployment) -> None:
    if upgrade_id := upgrade_of(deployment):
        advance(upgrade_id)


def do_alone(act: Callable[[], object], row: Deployment | Upgrade) -> None:
    """Do one of several things that a row's change calls for; what fails is left to `reconcile`."""
    try:
        act()
    except Exception:
        # The border of a receiver: nothing that one thing raises keeps the next from being done.
        logger.exception("%s #%s: reconcile has to go on", row._meta.verbose_name, row.pk)
        drop_a_broken_connection()


@receiver(policy_run_due, dispatch_uid="deploy_manager.dispatch")
def _wake_for_policy_run(run: PolicyRun, **details: Any) -> None:
    if why := send("run_policy", run.pk):
        logger.warning("%s waits, but no worker was woken: %s", run, why)


@receiver(resolution_due, dispatch_uid="deploy_manager.dispatch")
def _wake_for_resolution(resolution: Resolution, **details: Any) -> None:
    if why := send("resolve", resolution.pk):
        note_untold(resolution, why)
        logger.warning("%s waits, but no worker was woken: %s", resolution, why)
