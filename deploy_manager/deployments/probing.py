"""From *lost* to the truth: what the journal on a server knows of a step nobody saw the end of.

Nothing is run there. The recipe is gone through once more, and each of its commands is answered
from the journal; where the journal knows no answer the step was cut short.
"""

import threading
from datetime import timedelta

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from deploy_manager.deployments.host_work import Orders
from deploy_manager.deployments.orders import orders_for
from deploy_manager.deployments.outcome import sum_up
from deploy_manager.deployments.prepare import prepare_again
from deploy_manager.exceptions import (
    ClaimLost,
    ConnectionLost,
    DeployManagerError,
    HostUnreachable,
    NeverBegun,
    ServerBusy,
)
from deploy_manager.hosts.guarded import open_replay
from deploy_manager.hosts.opening import probe as read_journal
from deploy_manager.isolation import isolated
from deploy_manager.logs import mask_text
from deploy_manager.models import LIVE, ROLLBACK_PHASE, Deployment, HostRun, Problem, State, Step
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.recipes import get_recipe

PROBES_FOR = timedelta(hours=24)
PROBES_EVERY = timedelta(seconds=15)
JOB = "probed a lost server"
CUT_SHORT = gettext_noop("It was cut short when the connection was lost.")
NOT_REACHED = gettext_noop("What comes after was not done: retry it on this server.")


def lost_hosts() -> QuerySet[HostRun]:
    """Hosts whose state is unknown, and at which nobody looked just now."""
    since = Q(probed_at=None) | Q(probed_at__lt=Now() - PROBES_EVERY)
    recent = {"finished_at__gt": Now() - PROBES_FOR}
    return HostRun.objects.filter(since, state=State.LOST, placement__isnull=False, **recent)


def probe(host_run_id: int) -> State | None:
    """Look what became of a lost host; return its state if that is known now.

    While something still runs there, or nobody can reach it, it stays *lost*. So it does where the
    rows do not lead there: that is kept as its problem.
    """
    if not lost_hosts().filter(pk=host_run_id).update(probed_at=Now()):
        return None
    found = HostRun.objects.filter(pk=host_run_id)
    environment = found.values_list("deployment__environment", flat=True).first()
    state = None
    with isolated(JOB, HostRun, host_run_id, environment):
        state = _probe(host_run_id)
        Problem.objects.filter(job=JOB, key=host_run_id).delete()
    return state


def forget_found_hosts() -> None:
    """Forget what kept hosts from being looked at that are lost no more, or for too long."""
    lost = HostRun.objects.filter(state=State.LOST, finished_at__gt=Now() - PROBES_FOR)
    Problem.objects.filter(job=JOB).exclude(key__in=lost.values("pk")).delete()


def _probe(host_run_id: int) -> State | None:
    run = HostRun.objects.select_related("deployment", "shard").get(pk=host_run_id)
    step = run.steps.filter(state=State.LOST).order_by("number").first()
    if step is None:
        return None
    try:
        orders = orders_for(run.pk, prepare_again(run.deployment))
    except DeployManagerError:
        return None  # its rows lead to no server that could be asked
    found = _find_out(orders, step)
    if found is None:
        return None
    state, message = found
    return resolve(run, step, state, mask_text(message))


def resolve(run: HostRun, step: Step, state: State, message: str) -> State | None:
    """Write what became of a lost host; None where somebody else did before."""
    came_through = state is State.SUCCEEDED and not _left_undone(run, step)
    ended = State.SUCCEEDED if came_through else State.FAILED
    why = message if state is State.FAILED else "" if came_through else NOT_REACHED
    with brief_transaction():
        sequences = Deployment.objects.filter(pk=run.deployment_id)
        sequences.update(sequence=F("sequence") + 1)
        deployment = sequences.select_related("environment__project").get()
        values = {"sequence": deployment.sequence}
        lost = HostRun.objects.filter(pk=run.pk, state=State.LOST)
        if not lost.update(state=ended, message=why, **values):
            return None
        Step.objects.filter(pk=step.pk, state=State.LOST).update(
            state=state, message=message, **values
        )
        ended_as, words = sum_up(deployment)
        sequences.exclude(state__in=LIVE).update(state=ended_as, message=words)
    return ended


def _left_undone(run: HostRun, step: Step) -> bool:
    later = run.steps.filter(number__gt=step.number).exclude(phase=ROLLBACK_PHASE)
    return later.exists()


def _find_out(orders: Orders, step: Step) -> tuple[State, str] | None:
    """Return how a step ended; None where that can't be known yet."""
    try:
        function = get_recipe(step.recipe).function
        known = read_journal(orders.address, orders.work, threading.Event())
        if any(record.state == "running" for record in known):
            return None
        host = open_replay(orders.address, orders.work)
    except DeployManagerError:
        # Nobody reaches it; or this worker's code has no such recipe to ask the journal by.
        return None
    try:
        host.begin_step(step.number, once=True)
        function(host, orders.site_for(step))
    except NeverBegun:
        return State.FAILED, CUT_SHORT
    except (ConnectionLost, ClaimLost, ServerBusy, HostUnreachable):
        return None
    except (Exception, SystemExit) as error:
        # The border of a recipe, as when it was run: whatever it raises is how it ended.
        return State.FAILED, str(error)
    finally:
        host.close()
    return State.SUCCEEDED, ""
