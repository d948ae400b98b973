"""The bell. A task carries a deployment's id and nothing else; the row says the rest."""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Task, shared_task
from celery.signals import worker_shutting_down
from django.db import DatabaseError, connections, transaction
from django.dispatch import receiver

from deploy_manager.broker import SWEEP, connect, explain
from deploy_manager.models import (
    Deployment,
    Environment,
    Placement,
    PolicyRun,
    Resolution,
    Slice,
    State,
    Upgrade,
)
from deploy_manager.runner import (
    Tellers,
    UpgradePlan,
    advance_upgrade,
    ask_after,
    ask_servers,
    look_up_due,
    probe,
    process_ends,
    promote_next,
    send_notices,
    take_inventories,
    upgrade_of,
)
from deploy_manager.runner import audit as audit_versions
from deploy_manager.runner import gather as gather_facts
from deploy_manager.runner import request as write_request
from deploy_manager.runner import request_upgrade as write_upgrade
from deploy_manager.runner import run_slice as run
from deploy_manager.runner import sweep as sweep_rows
from deploy_manager.runner.isolation import drop_a_broken_connection
from deploy_manager.runner.resolving import note_untold
from deploy_manager.runner.resolving import take_up as take_up_resolution
from deploy_manager.runner.upgrades.policies import take_up
from deploy_manager.signals import deployment_ended, policy_run_due, resolution_due

logger = logging.getLogger(__name__)

MOST_AUDITED = 300
"""Versions that a task checks; the sweep has the next ones checked."""

WAITS_FOR = 15
"""Seconds after which a message to gather facts is void: the sweep has sent another one."""

RINGS_FOR = 5
"""Seconds that a request waits for the broker: somebody waits for its page."""


@shared_task(name="deploy_manager.run_slice", ignore_result=True)
def run_slice(slice_id: int) -> None:
    """Claim a slice of a deployment and run it; do nothing where somebody else has."""
    run(slice_id, ring_slice)


@shared_task(name=SWEEP, ignore_result=True)
def sweep() -> None:
    """Ring lost bells again, replace silent holders, begin what is due; see runner.sweep.

    A database that is away for a while is asked again by the next message.
    """
    try:
        sweep_rows(ring_slice, lambda run: None if _send(look_at, run) else True)
        gather()
    except DatabaseError as error:
        logger.warning("The deployments can't be read: %s", error)
        connections.close_all()


@shared_task(name="deploy_manager.look_at", ignore_result=True)
def look_at(host_run_id: int) -> None:
    """Find out what became of a lost host; see runner.probing."""
    probe(host_run_id)


@shared_task(name="deploy_manager.take_inventory", ignore_result=True)
def take_inventory(*placement_ids: int) -> None:
    """Ask servers side by side what is installed; see runner.packages.inventory."""
    take_inventories(Placement.objects.filter(pk__in=placement_ids))


@shared_task(name="deploy_manager.look_up", ignore_result=True)
def look_up() -> None:
    """Ask indexes what they have of the packages that are due; see runner.packages.looking_up."""
    look_up_due()


@shared_task(name="deploy_manager.audit", ignore_result=True)
def audit() -> None:
    """Look for advisories about the versions that are due; see runner.packages.auditing."""
    audit_versions(limit=MOST_AUDITED)


@shared_task(name="deploy_manager.notify", ignore_result=True)
def notify(deployment_id: int) -> None:
    """Tell everybody who wants to know how a deployment ended."""
    send_notices(deployment_id)


@shared_task(name="deploy_manager.run_policy", ignore_result=True)
def run_policy(policy_run_id: int) -> None:
    """Do what a run of a policy stands for; nothing where somebody else has or did it."""
    if take_up(policy_run_id):
        for upgrade in Upgrade.objects.live().filter(policy_run=policy_run_id):
            _alone(partial(advance, upgrade.pk), upgrade)


@shared_task(name="deploy_manager.resolve", ignore_result=True)
def resolve(resolution_id: int) -> None:
    """Answer a question to the resolver; nothing where somebody else has or did."""
    take_up_resolution(resolution_id)


def request(environment: Environment, recipe: str = "deploy", **details: Any) -> Deployment:
    """Write a deployment and tell a worker after the commit.

    Takes and raises what `runner.request` does. Where no broker answers the deployment stays
    *queued*, its message says why nobody was told, and the sweep tells one later.
    """
    with transaction.atomic():
        deployment = write_request(environment, recipe, **details)
        transaction.on_commit(partial(ring, deployment.pk), robust=True)
    return deployment


def request_upgrade(plan: UpgradePlan, **details: Any) -> Upgrade:
    """Write an upgrade and begin it after the commit.

    Takes and raises what `runner.request_upgrade` does.
    """
    with transaction.atomic():
        upgrade = write_upgrade(plan, **details)
        transaction.on_commit(partial(advance, upgrade.pk), robust=True)
    return upgrade


def advance(upgrade_id: int) -> None:
    """Do what is due of an upgrade, and tell the workers of what that wrote."""
    for deployment in advance_upgrade(upgrade_id):
        ring(deployment.pk)


def ring(deployment_id: int) -> bool:
    """Tell the workers of what is queued of a deployment; False where no broker answers."""
    queued = Slice.objects.to_claim().filter(deployment=deployment_id)
    rung = [ring_slice(pk) for pk in queued.values_list("pk", flat=True)]
    return all(rung)


def ring_slice(slice_id: int) -> bool:
    """Tell the workers of a slice; False where the broker can't be reached."""
    Slice.objects.mark_rung(slice_id, timedelta(0))
    why = _send(run_slice, slice_id)
    if why:
        logger.warning("Slice %s is queued, but no worker was told: %s", slice_id, why)
        Deployment.objects.filter(slices=slice_id, state=State.QUEUED).update(
            message=f"No worker could be told: {why}"
        )
    return not why


def gather() -> Counter[str]:
    """Tell workers to gather the facts that are due; return how often each thing was told."""
    return gather_facts(TELLERS)


def _tell(task: "Task[Any, Any]", *keys: int) -> bool:
    """Send a task that gathers facts; what nobody takes in time is void, for it is sent again."""
    why = _send(task, *keys) if keys else _send(task, expires=WAITS_FOR)
    if why:
        logger.warning("Nobody was told to do %s: %s", task.name, why)
    return not why


TELLERS = Tellers(
    take_inventory=partial(_tell, take_inventory),
    look_up=partial(_tell, look_up),
    audit=partial(_tell, audit),
)


def _send(task: "Task[Any, Any]", *keys: int, **options: Any) -> str:
    """Send a task about rows, or none; return why it could not be."""
    try:
        with connect(RINGS_FOR) as connection:
            producer = connection.Producer(auto_declare=False)
            task.apply_async(keys, producer=producer, retry=False, **options)
    except Exception as error:
        # The border to the broker: the row is written, whatever its library raises.
        return explain(error)
    return ""


@receiver(deployment_ended, dispatch_uid="deploy_manager.tasks")
def _go_on_after(deployment: Deployment, **details: Any) -> None:
    """Tell who wants to know, and begin what waited for the end: each for itself."""
    for act in (
        partial(_have_notified, deployment),
        partial(_advance_after, deployment),
        partial(promote_next, deployment.environment, ring_slice),
        partial(ask_after, deployment),
        partial(ask_servers, TELLERS),
    ):
        _alone(act, deployment)


def _have_notified(deployment: Deployment) -> None:
    if deployment.environment.notifications.exists() and (why := _send(notify, deployment.pk)):
        logger.warning("Nobody is told how %s ended: %s", deployment, why)


def _advance_after(deployment: Deployment) -> None:
    if upgrade_id := upgrade_of(deployment):
        advance(upgrade_id)


def _alone(act: Callable[[], object], row: Deployment | Upgrade) -> None:
    """Do one of several things that a row's change calls for; what fails is left to the sweep."""
    try:
        act()
    except Exception:
        # The border of a receiver: nothing that one thing raises keeps the next from being done.
        logger.exception("%s #%s: the sweep has to go on", row._meta.verbose_name, row.pk)
        drop_a_broken_connection()


@receiver(policy_run_due, dispatch_uid="deploy_manager.tasks")
def _ring_policy_run(run: PolicyRun, **details: Any) -> None:
    """Tell a worker of a run that waits; the sweep tells one later where no broker answers."""
    if why := _send(run_policy, run.pk):
        logger.warning("%s waits, but no worker was told: %s", run, why)


@receiver(resolution_due, dispatch_uid="deploy_manager.tasks")
def _tell_of_resolution(resolution: Resolution, **details: Any) -> None:
    """Tell a worker of a question that waits; the sweep tells one later where no broker answers."""
    if why := _send(resolve, resolution.pk):
        note_untold(resolution, why)
        logger.warning("%s waits, but no worker was told: %s", resolution, why)


@worker_shutting_down.connect(dispatch_uid="deploy_manager.tasks")
def _hand_over(**details: Any) -> None:
    """Give back what this worker runs: it goes on on the servers, and another worker takes it up.

    So that the site which hosts deploy_manager can deploy itself, worker and all.
    """
    process_ends.set()
