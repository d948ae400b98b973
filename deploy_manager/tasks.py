"""Celery tasks: each message carries a row's id and nothing else; the row says the rest."""

import logging
from functools import partial
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.db import DatabaseError, connections

from deploy_manager.broker import RECONCILE
from deploy_manager.deployments.announcing import deliver
from deploy_manager.deployments.notifying import send_notifications, send_request_notifications
from deploy_manager.deployments.probing import probe
from deploy_manager.deployments.run import run_shard as run
from deploy_manager.deployments.shutdown import process_ends
from deploy_manager.dispatch import advance, do_alone, gather, send, wake_for_shard
from deploy_manager.models import Placement, Upgrade
from deploy_manager.packages.auditing import audit as audit_versions
from deploy_manager.packages.inventory import take_inventories
from deploy_manager.packages.looking_up import look_up_due
from deploy_manager.packages.repository import fetch_for_others
from deploy_manager.packages.resolutions import take_up as take_up_resolution
from deploy_manager.reconcile import reconcile as reconcile_rows
from deploy_manager.upgrades.policies import take_up
from deploy_manager.watching.rounds import watch as watch_placements

logger = logging.getLogger(__name__)

MOST_AUDITED = 300
"""Versions that one task checks; the next round of `reconcile` sends a task for more."""


@shared_task(name="deploy_manager.run_shard", ignore_result=True)
def run_shard(shard_id: int) -> None:
    """Claim a shard of a deployment and run it; do nothing if another worker holds it."""
    run(shard_id, wake_for_shard)


@shared_task(name=RECONCILE, ignore_result=True)
def reconcile() -> None:
    """Send lost messages again, replace silent holders, begin what is due; see reconcile.py.

    If the database is away, the next message tries again.
    """
    try:
        reconcile_rows(wake_for_shard, lambda run: None if send("look_at", run) else True)
        gather()
    except DatabaseError as error:
        logger.warning("The deployments can't be read: %s", error)
        # A connection that broke is of no use any more: the next message opens another.
        connections.close_all()


@shared_task(name="deploy_manager.look_at", ignore_result=True)
def look_at(host_run_id: int) -> None:
    """Find out how a lost host ended; see deployments.probing."""
    probe(host_run_id)


@shared_task(name="deploy_manager.take_inventory", ignore_result=True)
def take_inventory(*placement_ids: int) -> None:
    """Ask servers side by side what is installed; see packages.inventory."""
    take_inventories(Placement.objects.filter(pk__in=placement_ids))


@shared_task(name="deploy_manager.watch", ignore_result=True)
def watch(*placement_ids: int) -> None:
    """Ask servers side by side what runs, and act on it; see watching.rounds."""
    watch_placements(placement_ids)


@shared_task(name="deploy_manager.look_up", ignore_result=True)
def look_up() -> None:
    """Ask indexes for the releases of the packages that are due; see packages.looking_up."""
    look_up_due()


@shared_task(name="deploy_manager.audit", ignore_result=True)
def audit() -> None:
    """Look for advisories about the versions that are due; see packages.auditing."""
    audit_versions(limit=MOST_AUDITED)


@shared_task(name="deploy_manager.notify", ignore_result=True)
def notify(deployment_id: int) -> None:
    """Send the notifications of how a deployment ended; see deployments.notifying."""
    send_notifications(deployment_id)


@shared_task(name="deploy_manager.notify_request", ignore_result=True)
def notify_request(deployment_id: int) -> None:
    """Send the notifications of a request that needs approval; see deployments.notifying."""
    send_request_notifications(deployment_id)


@shared_task(name="deploy_manager.announce", ignore_result=True)
def announce(delivery_id: int) -> None:
    """Send a message to an outgoing webhook, if it is due; see deployments.announcing."""
    deliver(delivery_id)


@shared_task(name="deploy_manager.run_policy", ignore_result=True)
def run_policy(policy_run_id: int) -> None:
    """Carry out a policy's run; do nothing if another worker does or did."""
    if take_up(policy_run_id):
        for upgrade in Upgrade.objects.live().filter(policy_run=policy_run_id):
            do_alone(partial(advance, upgrade.pk), upgrade)


@shared_task(name="deploy_manager.fetch", ignore_result=True)
def fetch(project_id: int) -> None:
    """Fetch a repository for a web server that can't log in to it; see packages.fetching."""
    fetch_for_others(project_id)


@shared_task(name="deploy_manager.resolve", ignore_result=True)
def resolve(resolution_id: int) -> None:
    """Answer a question to the resolver; do nothing if another worker does or did."""
    take_up_resolution(resolution_id)


@worker_shutting_down.connect(dispatch_uid="deploy_manager.tasks")
def _hand_over(**details: Any) -> None:
    """Release what this worker runs: it keeps running on servers, and another worker continues it.

    So the site that deploy_manager itself runs in can be deployed by it, workers included.
    """
    process_ends.set()
