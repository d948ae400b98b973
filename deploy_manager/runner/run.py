"""Claim slices of a deployment and see them through, to an end that is true for every server."""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_noop

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ClaimLost, DeployManagerError
from deploy_manager.logs import mask_text
from deploy_manager.models import Deployment, Slice, State
from deploy_manager.runner.barrier import Verdict, open_after_pause
from deploy_manager.runner.host_work import HostWork
from deploy_manager.runner.orders import orders_of
from deploy_manager.runner.pins import note_pins
from deploy_manager.runner.prepare import prepare
from deploy_manager.runner.writer import Writer

logger = logging.getLogger(__name__)

Bell = Callable[[int], object]
"""Tells some worker that a slice has something to do."""

LOOKS_EVERY = 0.5


def run_slice(slice_id: int, ring: Bell) -> bool:
    """Claim a slice and do what is open for its hosts; False where there was nothing to claim."""
    held = Slice.objects.claim(slice_id, f"{socket.gethostname()}:{os.getpid()}")
    if held is None:
        logger.info("Slice %s is nobody's to claim: nothing to do.", slice_id)
        return False
    try:
        _see_through(held, ring)
    except ClaimLost as error:
        logger.warning("%s: %s", held, error)
    except DeployManagerError as error:
        # Only what comes before the hosts raises: theirs stand on their rows.
        untouched = "" if held.deployment.stage else " No server was touched."
        _give_up(held, State.FAILED, f"{error}{untouched}")
    except Exception as error:
        # The border of the task: no deployment stays "running" behind an error of ours.
        logger.exception("%s stopped on an error", held)
        _give_up(held, State.LOST, f"{type(error).__name__}: {error}. Look at the servers.")
    return True


def run(deployment_id: int) -> None:
    """See a deployment through in this process alone, slice after slice, pauses and all.

    Returns at once where somebody else has it.
    """
    while True:
        free = Slice.objects.to_claim().filter(deployment=deployment_id).order_by("number")
        slices = list(free.values_list("pk", flat=True))
        for pk in slices:
            run_slice(pk, _nobody)
        if not slices and not _wait_for_the_next_wave(deployment_id):
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


def _nobody(slice_id: int) -> None:
    """Rings no bell: this process comes back for the slice itself."""


def _give_up(held: Slice, state: State, message: str) -> None:
    """End it over a new connection: that of before may be what failed, and stays dead then."""
    connection.close()
    held.finish(state, mask_text(message))


def _see_through(held: Slice, ring: Bell) -> None:
    with Writer(held) as writer:
        prepared = prepare(held)
        works = [HostWork(orders, writer) for orders in orders_of(held, prepared, writer.stop)]
        _run_stages(held, works, writer, ring)
    if any(work.is_left_to_others for work in works):
        _hand_over(held, ring)
    elif not Deployment.objects.live().filter(pk=held.deployment_id).exists():
        note_pins(held.deployment)


def _hand_over(held: Slice, ring: Bell) -> None:
    if held.release():
        logger.info("%s is handed over to another worker.", held)
        ring(held.pk)


def _run_stages(held: Slice, works: Sequence[HostWork], writer: Writer, ring: Bell) -> None:
    most = min(len(works), get_settings().MAX_HOSTS_AT_ONCE)
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="host") as pool:
        stage: int | None = held.deployment.stage
        while stage is not None:
            verdict = _run_stage(stage, works, writer, pool)
            for slice_id in verdict.ring:
                ring(slice_id)
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
