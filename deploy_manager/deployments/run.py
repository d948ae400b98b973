"""Claim shards of a deployment and see them through, to an end that is true for every server."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_noop

from deploy_manager.conf import get_settings
from deploy_manager.deployments.barrier import Verdict, open_after_pause
from deploy_manager.deployments.host_work import HostWork
from deploy_manager.deployments.orders import orders_of
from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.scheduling import note_outcome
from deploy_manager.deployments.writer import Writer
from deploy_manager.exceptions import ClaimLost, DeployManagerError, LeftAlone
from deploy_manager.isolation import explain
from deploy_manager.logs import mask_text
from deploy_manager.models import Deployment, HostRun, Shard, State
from deploy_manager.packages.pins import note_pins

logger = logging.getLogger(__name__)

Wake = Callable[[int], object]
"""Tells some worker that a shard has something to do."""

LOOKS_EVERY = 0.5


def run_shard(shard_id: int, wake: Wake) -> bool:
    """Claim a shard and do what is open for its hosts; False where there was nothing to claim."""
    held = Shard.objects.claim(shard_id, f"{socket.gethostname()}:{os.getpid()}")
    if held is None:
        logger.info("Shard %s is nobody's to claim: nothing to do.", shard_id)
        return False
    works: list[HostWork] = []
    try:
        _see_through(held, wake, works)
    except ClaimLost as error:
        logger.warning("%s: %s", held, error)
    except LeftAlone as error:
        _leave(held, str(error))
    except NotReadyError as error:
        # What was wrong before any host's work began stands on the row, whatever raised it.
        _give_up(held, State.FAILED, str(error))
    except DeployManagerError as error:
        _give_up(held, State.FAILED, str(error))
    except Exception as error:
        # The border of the task: no deployment stays "running" behind an error of ours.
        logger.exception("%s stopped on an error", held)
        is_unknown = any(work.is_in_doubt for work in works)
        look = " Look at the servers." if is_unknown else ""
        _give_up(held, State.LOST if is_unknown else State.FAILED, f"{explain(error)}.{look}")
    return True


class NotReadyError(Exception):
    """Something went wrong before any host was worked on under this claim, in words to be told."""


@contextmanager
def _getting_ready(held: Shard) -> Iterator[None]:
    """Raise NotReadyError for whatever a block raises that is no loss of the claim."""
    try:
        yield
    except (ClaimLost, LeftAlone):
        raise
    except DeployManagerError as error:
        raise NotReadyError(str(error)) from error
    except Exception as error:
        logger.exception("%s can't be made ready", held)
        raise NotReadyError(explain(error) + ".") from error


def _untouched(held: Shard) -> str:
    """Say that no server was touched, where that is known: nobody worked on any before."""
    begun = HostRun.objects.filter(deployment=held.deployment_id, started_at__isnull=False)
    was_worked_on = held.deployment.stage or held.taken_over or begun.exists()
    return "" if was_worked_on else " No server was touched."


def _leave(held: Shard, why: str) -> None:
    """End what an automatic source may not do: nothing failed, and its schedule says so, too."""
    _give_up(held, State.CANCELLED, why)
    if (schedule := held.deployment.schedule_id) is not None:
        note_outcome(schedule, mask_text(why))


def run(deployment_id: int) -> None:
    """See a deployment through in this process alone, shard after shard, pauses and all.

    Returns at once where somebody else has it.
    """
    while True:
        free = Shard.objects.to_claim().filter(deployment=deployment_id).order_by("number")
        shards = list(free.values_list("pk", flat=True))
        for pk in shards:
            run_shard(pk, _nobody)
        if not shards and not _wait_for_the_next_wave(deployment_id):
            return


def _wait_for_the_next_wave(deployment_id: int) -> bool:
    """Wait for a part of the pause; False where there is none."""
    deployment = Deployment.objects.busy().filter(pk=deployment_id).first()
    if deployment is None or deployment.opens_at is None:
        return False
    left = (deployment.opens_at - timezone.now()).total_seconds()
    time.sleep(min(max(left, 0.0), LOOKS_EVERY))
    open_after_pause(deployment_id)
    return True


def _nobody(shard_id: int) -> None:
    """Rings no bell: this process comes back for the shard itself."""


def _give_up(held: Shard, state: State, message: str) -> None:
    """End it over a new connection: that of before may be what failed, and stays dead then."""
    connection.close()
    untouched = "" if state is State.LOST else _untouched(held)
    held.finish(state, mask_text(f"{message}{untouched}"))


def _see_through(held: Shard, wake: Wake, works: list[HostWork]) -> None:
    """Do what is open for the hosts of a shard; `works` is filled with what is done for each."""
    with Writer(held) as writer:
        with _getting_ready(held):
            prepared = prepare(held)
            orders = orders_of(held, prepared, writer.stop)
            works += [HostWork(each, writer) for each in orders]
        _run_stages(held, works, writer, wake)
    if any(work.is_left_to_others for work in works):
        _hand_over(held, wake)
    elif not Deployment.objects.live().filter(pk=held.deployment_id).exists():
        note_pins(held.deployment)


def _hand_over(held: Shard, wake: Wake) -> None:
    if held.release():
        logger.info("%s is handed over to another worker.", held)
        wake(held.pk)


def _run_stages(held: Shard, works: Sequence[HostWork], writer: Writer, wake: Wake) -> None:
    most = min(len(works), get_settings().MAX_HOSTS_AT_ONCE)
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="host") as pool:
        stage: int | None = held.deployment.stage
        while stage is not None:
            verdict = _run_stage(stage, works, writer, pool)
            for shard_id in verdict.wake:
                wake(shard_id)
            stage = verdict.stage
        list(pool.map(HostWork.close, works))


def _run_stage(
    stage: int, works: Sequence[HostWork], writer: Writer, pool: ThreadPoolExecutor
) -> Verdict:
    connection.close()  # what is idle for as long as servers work is cut by somebody
    busy = [work for work in works if work.has_work_in(stage)]
    list(pool.map(HostWork.run_stage, busy, [stage] * len(busy)))
    if any(work.is_left_to_others for work in works):
        return Verdict()
    if writer.stop.is_set():
        for work in works:
            work.stop(State.CANCELLED, gettext_noop("Cancelled."))
    return writer.arrive()
