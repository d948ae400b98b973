"""Run deployments: claim shards and carry them out, to an end that is true for every server."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.db import connection
from django.db.models import prefetch_related_objects
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.deployments.beginning import why_not_begin
from deploy_manager.deployments.ending import finish_held
from deploy_manager.deployments.host_work import HostWork
from deploy_manager.deployments.orders import orders_of
from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.rollout import Verdict, open_after_pause
from deploy_manager.deployments.scheduling import note_outcome
from deploy_manager.deployments.writer import HostEnd, Writer
from deploy_manager.exceptions import ClaimLost, DeployManagerError, LeftAlone
from deploy_manager.isolation import explain
from deploy_manager.logs import log_error
from deploy_manager.masking import carried, masking
from deploy_manager.messages import Message, message_of
from deploy_manager.models import Deployment, HostRun, Shard, State
from deploy_manager.site_secrets import SiteSecrets, open_secrets

logger = logging.getLogger(__name__)

Wake = Callable[[int], object]
"""Wakes a worker for the shard with this key."""

LOOKS_EVERY = 0.5
"""Seconds."""

NAP = 0.05
"""Seconds, at least: by this machine's clock a pause may be over before it is by the database's."""


def run_shard(shard_id: int, wake: Wake) -> bool:
    """Claim a shard and do what is open for its hosts; False if there was nothing to claim."""
    # For people to read: what proves the claim is its token.
    holder = f"{socket.gethostname()}:{os.getpid()}"
    held = Shard.objects.claim(shard_id, holder, why_not_begin)
    if held is None:
        logger.info("Shard %s is not free to claim: nothing to do.", shard_id)
        return False
    try:
        with _getting_ready(held):
            # Once: what is worked with is what is compared with what was confirmed.
            of_it = ("processes", "tiers", "secret_variables")
            prefetch_related_objects([held.deployment.environment], *of_it)
            secrets = open_secrets(held.deployment.environment)
    except NotReadyError as error:
        _give_up(held, State.FAILED, message_of(error))
        return True
    # Around all that may write something down about this work, and the threads that it begins.
    with masking(secrets.all):
        _see_through(held, wake, secrets)
    return True


def _see_through(held: Shard, wake: Wake, secrets: SiteSecrets) -> None:
    works: list[HostWork] = []
    try:
        _carry_out(held, wake, works, secrets)
    except ClaimLost as error:
        logger.warning("%s: %s", held, error)
    except LeftAlone as error:
        # An automatic source may not deploy this: nothing failed, and its schedule shows why.
        _give_up(held, State.CANCELLED, error.message)
        if (schedule := held.deployment.schedule_id) is not None:
            note_outcome(schedule, error.message)
    except (NotReadyError, DeployManagerError) as error:
        _give_up(held, State.FAILED, message_of(error))
    except Exception as error:
        # The border of the task: no deployment stays "running" behind an error of ours.
        log_error(logger, "%s stopped on an error", held)
        is_unknown = any(work.is_in_doubt for work in works)
        text = _("%(why)s. Look at the servers.") if is_unknown else "%(why)s."
        why = Message(text, why=explain(error))
        _give_up(held, State.LOST if is_unknown else State.FAILED, why)


class NotReadyError(Exception):
    """Any error before a host was worked on under this claim; its text is shown to people."""


@contextmanager
def _getting_ready(held: Shard) -> Iterator[None]:
    """Raise NotReadyError for every error of a block, except the loss of the claim."""
    try:
        yield
    except (ClaimLost, LeftAlone):
        raise
    except DeployManagerError as error:
        raise NotReadyError(error.message) from error
    except Exception as error:
        log_error(logger, "%s can't be made ready", held)
        raise NotReadyError(Message("%(why)s.", why=explain(error))) from error


def _give_up(held: Shard, state: State, message: Message) -> None:
    """End the deployment, and say that no server was touched if that is known."""
    # A new connection: the one before may be what failed, and would stay broken.
    connection.close()
    begun = HostRun.objects.filter(deployment=held.deployment_id, started_at__isnull=False)
    was_worked_on = held.deployment.stage or held.taken_over or begun.exists()
    if state is not State.LOST and not was_worked_on:
        message = Message(_("%(why)s No server was touched."), why=message)
    finish_held(held, state, message)


def run(deployment_id: int) -> None:
    """Carry out a deployment in this process alone, shard after shard, pauses included.

    Returns at once if a worker has it.
    """
    while True:
        free = Shard.objects.to_claim().filter(deployment=deployment_id).order_by("number")
        shards = list(free.values_list("pk", flat=True))
        for pk in shards:
            # Wakes no worker: this process comes back for the shards itself.
            run_shard(pk, lambda shard_id: None)
        if shards:
            continue
        deployment = Deployment.objects.busy().filter(pk=deployment_id).first()
        if deployment is None or deployment.opens_at is None:
            return
        left = (deployment.opens_at - timezone.now()).total_seconds()
        # In short naps: it may be cancelled, or its wave opened by another process.
        time.sleep(min(max(left, NAP), LOOKS_EVERY))
        open_after_pause(deployment_id)


def _carry_out(held: Shard, wake: Wake, works: list[HostWork], secrets: SiteSecrets) -> None:
    """Do what is open for the hosts of a shard; fills `works` with the work on each."""
    with Writer(held) as writer:
        with _getting_ready(held):
            prepared = prepare(held)
            orders, without = orders_of(held, prepared, writer.stop, secrets)
            # In place: run_shard has to see them if what follows fails.
            works += [HostWork(each, writer) for each in orders]
        for each in without:
            # It ends alone: whether the others go on is decided as after any other failure.
            writer.put(HostEnd(each.run, *each.run.end_of(State.FAILED, each.why), timezone.now()))
        _run_stages(held, works, writer, wake)
    # After the writer has ended: its next beat would find the claim gone.
    if any(work.is_left_to_others for work in works) and held.release():
        logger.info("%s is handed over to another worker.", held)
        wake(held.pk)


def _run_stages(held: Shard, works: Sequence[HostWork], writer: Writer, wake: Wake) -> None:
    # A pool has at least one thread, but each host of the shard may have left.
    most = max(1, min(len(works), get_settings().MAX_HOSTS_AT_ONCE))
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="host") as pool:
        stage: int | None = held.deployment.stage
        while stage is not None:
            verdict = _run_stage(stage, works, writer, pool)
            for shard_id in verdict.wake:
                wake(shard_id)
            stage = verdict.stage
        # In the pool as well: a server that does not answer may delay its close.
        list(pool.map(carried(HostWork.close), works))


def _run_stage(
    stage: int, works: Sequence[HostWork], writer: Writer, pool: ThreadPoolExecutor
) -> Verdict:
    # This thread's connection is idle while servers work, and databases and proxies cut idle ones.
    connection.close()
    busy = [work for work in works if work.has_work_in(stage)]
    # As a list: that waits for every host, and raises what one of them raised.
    list(pool.map(carried(HostWork.run_stage), busy, [stage] * len(busy)))
    if any(work.is_left_to_others for work in works):
        # It has not arrived: who takes the shard over continues this stage.
        return Verdict()
    if writer.stop.is_set():
        # Hosts without work in this stage, too: the barrier would open the next one for them.
        for work in works:
            work.stop(State.CANCELLED, Message(_("Cancelled."), "cancelled"))
    return writer.arrive(stage)
