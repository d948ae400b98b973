"""Probing lost hosts: the journal on the server tells how a step ended that nobody saw end.

Nothing is run there. The recipe is replayed, and each of its commands is answered from the journal;
if the journal has no answer the step was cut short.
"""

import threading
from datetime import timedelta

from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.orders import Orders, only_look, orders_for
from deploy_manager.deployments.prepare import prepare_again
from deploy_manager.deployments.rollout import sum_up
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
from deploy_manager.masking import masking
from deploy_manager.messages import Message, message_of
from deploy_manager.models import LIVE, ROLLBACK_PHASE, Deployment, HostRun, Problem, State, Step
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.recipes import get_recipe
from deploy_manager.site_secrets import open_secrets

PROBES_FOR = timedelta(hours=24)
PROBES_EVERY = timedelta(seconds=15)
JOB = "probed a lost server"
CUT_SHORT = Message(_("It was cut short when the connection was lost."), "cut_short")
NOT_REACHED = Message(_("The steps after it were not done: retry it on this server."), "steps_left")


def lost_hosts() -> QuerySet[HostRun]:
    """Hosts whose state is unknown and that were not probed just now."""
    since = Q(probed_at=None) | Q(probed_at__lt=Now() - PROBES_EVERY)
    recent = {"finished_at__gt": Now() - PROBES_FOR}
    lost = HostRun.objects.filter(since, state=State.LOST, placement__isnull=False, **recent)
    # The journal is where the work was done: there is none where it was moved to.
    return lost.exclude(placement__moved_at__gt=F("finished_at"))


def probe(host_run_id: int) -> State | None:
    """Find out how a lost host ended; return its state if that is known now.

    It stays *lost* while something still runs there, or while it can't be reached. So it does if
    its rows are invalid: that is kept as its problem.
    """
    # Conditional: of several workers that are sent here only one asks the server.
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
    """Delete the problems of hosts that are not lost any more, or have been for too long."""
    lost = HostRun.objects.filter(state=State.LOST, finished_at__gt=Now() - PROBES_FOR)
    Problem.objects.filter(job=JOB).exclude(key__in=lost.values("pk")).delete()


def _probe(host_run_id: int) -> State | None:
    run = HostRun.objects.select_related("deployment", "shard").get(pk=host_run_id)
    step = run.steps.filter(state=State.LOST).order_by("number").first()
    if step is None:
        return None
    if _only_looked(run):
        return resolve(run, step, State.FAILED, CUT_SHORT)
    try:
        secrets = open_secrets(run.deployment.environment)
        orders = orders_for(run.pk, prepare_again(run.deployment), secrets)
    except DeployManagerError:
        return None  # there is no server any more to ask, or its row is invalid
    with masking(secrets.all):
        found = _find_out(orders, step)
        return resolve(run, step, *found) if found else None


def resolve(run: HostRun, step: Step, state: State, message: Message) -> State | None:
    """Write how a lost host ended; None if another worker did before.

    Its other steps ended when it was lost, so this changes one step; see models.runs.end_hosts.
    """
    later = run.steps.filter(number__gt=step.number).exclude(phase=ROLLBACK_PHASE)
    came_through = state is State.SUCCEEDED and not later.exists()
    ended = State.SUCCEEDED if came_through else State.FAILED
    why = message if state is State.FAILED else Message() if came_through else NOT_REACHED
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
        # A deployment that is still live sums up its hosts itself when it ends.
        sequences.exclude(state__in=LIVE).update(state=ended_as, message=words)
    return ended


def _only_looked(run: HostRun) -> bool:
    """Whether it was done without a guard, so that no journal is there, and nothing changed."""
    return only_look([step.recipe for step in run.steps.all()])


def _find_out(orders: Orders, step: Step) -> tuple[State, Message] | None:
    """Return how a step ended; None if that can't be known yet."""
    try:
        function = get_recipe(step.recipe).function
        # Never set: nobody can cancel a probe.
        known = read_journal(orders.address, orders.work, threading.Event())
        if any(record.state == "running" for record in known):
            return None
        host = open_replay(orders.address, orders.work)
    except DeployManagerError:
        # It can't be reached; or this worker's code does not have the recipe to replay.
        return None
    try:
        # `once`: a replay must never begin the step afresh, even if its commands differ by now.
        host.begin_step(step.number, once=True)
        function(host, orders.site_for(step))
    except NeverBegun:
        return State.FAILED, CUT_SHORT
    except (ConnectionLost, ClaimLost, ServerBusy, HostUnreachable):
        return None
    except (Exception, SystemExit) as error:
        # The border of a recipe, as when it was run: any error it raises is how it ended.
        return State.FAILED, message_of(error)
    finally:
        host.close()
    return State.SUCCEEDED, Message()
