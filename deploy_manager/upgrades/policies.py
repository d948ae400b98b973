"""Runs of policies: a row for each scheduled time, carried out by one worker.

The first process to look writes the row; a database constraint keeps a second one from writing it
again. After an outage only the last time within its deadline is made up for. A run with a blank
outcome waits for a worker, which then beats between its upgrades. A worker that stops beating is
replaced and can write nothing more: the time of its last beat is its fencing token.
"""

import logging
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.owners import see_to
from deploy_manager.deployments.scheduling import MOST_SLOTS
from deploy_manager.exceptions import ClaimLost, DeployManagerError, Paused
from deploy_manager.isolation import explain, one_by_one
from deploy_manager.logs import log_error
from deploy_manager.messages import Message
from deploy_manager.models import PolicyRun, UpgradePolicy
from deploy_manager.models.transactions import after_commit
from deploy_manager.schedule.slots import next_slot, slots_between
from deploy_manager.signals import policy_run_due
from deploy_manager.upgrades.policy_work import do_policy

logger = logging.getLogger(__name__)

JOB = "ran policies"
"""Its name among the jobs of the reconcile loop."""

AT_WORK = Message(_("A worker is looking for upgrades."))
"""The outcome of a run while a worker has it."""

WAKE_AGAIN_AFTER = timedelta(minutes=1)
SILENT_AFTER = timedelta(minutes=15)
"""Long, as between two beats an upgrade is planned in all environments, up to 2 minutes in each."""


def run_due_policies(now: datetime | None = None) -> list[PolicyRun]:
    """Write the runs that are due and wake workers; return the runs."""
    now = now or timezone.now()
    enabled = UpgradePolicy.objects.filter(is_enabled=True, looked_at__lt=now)
    written = one_by_one(JOB, enabled, partial(_write_due, now=now))
    return [run for run in written if run]


def ask_for_run(policy: UpgradePolicy) -> PolicyRun:
    """Write a run of a policy for now and wake a worker."""
    run = policy.runs.create(slot=timezone.now())
    after_commit(_wake, run)
    return run


def run_policy(policy: UpgradePolicy, slot: datetime | None = None) -> PolicyRun:
    """Run a policy in this process, and return the run with its outcome.

    An existing run of this time is taken up, unless another process has it.
    """
    run, _is_new = policy.runs.get_or_create(slot=slot or timezone.now())
    take_up(run.pk)
    run.refresh_from_db()
    return run


def take_up(run_id: int) -> bool:
    """Carry out a run, from any process; False if another process has or had it."""
    now = timezone.now()
    # created_at is the last beat of the worker that has it.
    free = Q(outcome="") | Q(outcome=AT_WORK, created_at__lt=now - SILENT_AFTER)
    if not PolicyRun.objects.filter(free, pk=run_id).update(outcome=AT_WORK, created_at=now):
        return False
    run = PolicyRun.objects.select_related("policy__owner").get(pk=run_id)
    try:
        outcome = do_policy(run, _beat)
    except ClaimLost:
        return False
    except Exception as error:
        # The border of a run: any error becomes its outcome, which people read on the policy.
        if not isinstance(error, DeployManagerError):
            log_error(logger, "%s stopped on an error", run)
        outcome = Message(_("Refused: %(reason)s"), reason=explain(error))
    return bool(_held(run).update(outcome=outcome))


def wake_for_waiting_runs(now: datetime | None = None) -> int:
    """Wake workers again for runs that wait, and end those whose deadline has passed."""
    now = now or timezone.now()
    waiting = Q(outcome="", created_at__lt=now - WAKE_AGAIN_AFTER)
    silent = Q(outcome=AT_WORK, created_at__lt=now - SILENT_AFTER)
    found = PolicyRun.objects.filter(waiting | silent).select_related("policy")

    def wake_again(run: PolicyRun) -> bool:
        if run.slot + timedelta(minutes=run.policy.deadline) < now:
            missed = Message(
                _("Not done: no worker finished it by its deadline."), "deadline_passed"
            )
            return bool(_held(run).update(outcome=missed))
        # Noted as if created now, so that the next round does not wake another worker at once. A
        # worker that was silent for so long loses the run by it.
        if not _held(run).update(outcome="", created_at=now):
            return False
        _wake(run)
        return True

    return sum(one_by_one(JOB, found, wake_again))


def next_times(policy: UpgradePolicy, count: int, after: datetime) -> list[datetime]:
    """Return the next times of a policy, in UTC. Raises ValueError for an invalid cron or zone."""
    times: list[datetime] = []
    for _number in range(count):
        times.append(next_slot(policy.cron, policy.time_zone, times[-1] if times else after))
    return times


def _write_due(policy: UpgradePolicy, *, now: datetime) -> PolicyRun | None:
    since = max(policy.looked_at, now - timedelta(minutes=policy.deadline))
    slots = slots_between(policy.cron, policy.time_zone, since, now, most=MOST_SLOTS)
    if slots or policy.paused:
        _see_to(policy, slots, now)
    written = None
    if slots:
        run, is_new = policy.runs.get_or_create(slot=slots[-1])
        written = run if is_new else None
    # Only after the run is written: a process that dies in between loses none.
    UpgradePolicy.objects.filter(pk=policy.pk, looked_at__lt=now).update(looked_at=now)
    if written:
        after_commit(_wake, written)
    return written


def _see_to(policy: UpgradePolicy, slots: list[datetime], now: datetime) -> None:
    """Raise Paused if a policy has to do nothing; its last time gets a run that says so."""
    try:
        see_to(policy)
    except Paused as error:
        if slots:
            policy.runs.get_or_create(slot=slots[-1], defaults={"outcome": error.message})
        UpgradePolicy.objects.filter(pk=policy.pk, looked_at__lt=now).update(looked_at=now)
        raise


def _wake(run: PolicyRun) -> None:
    """Wake a worker; if that fails, the row waits for the next round of the reconcile loop."""
    for _receiver, error in policy_run_due.send_robust(sender=PolicyRun, run=run):
        if isinstance(error, Exception):
            logger.warning("No worker could be woken for %s: %s", run, error)


def _held(run: PolicyRun) -> QuerySet[PolicyRun]:
    """Return the run, or nothing if it was changed since it was read."""
    return PolicyRun.objects.filter(pk=run.pk, outcome=run.outcome, created_at=run.created_at)


def _beat(run: PolicyRun) -> None:
    """Keep the claim on a run. Raises ClaimLost if another process has it now."""
    now = timezone.now()
    if not _held(run).update(created_at=now):
        raise ClaimLost
    run.created_at = now
