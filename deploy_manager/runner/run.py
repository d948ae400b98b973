"""Claim a deployment and see it through, to an end that is true for every server."""

import logging
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.utils.translation import gettext_noop

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ClaimLost, DeployManagerError
from deploy_manager.logs import mask_text
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.recipes import Phase
from deploy_manager.runner.host_work import HostWork, stop_all
from deploy_manager.runner.pins import replace_pins
from deploy_manager.runner.prepare import Prepared, prepare
from deploy_manager.runner.site import site_of
from deploy_manager.runner.writer import Writer

logger = logging.getLogger(__name__)


def run(deployment_id: int) -> None:
    """Claim a queued deployment and see it through; do nothing where somebody else has it."""
    holder = f"{socket.gethostname()}:{os.getpid()}"
    deployment = Deployment.objects.claim(deployment_id, holder)
    if deployment is None:
        logger.info("Deployment %s is not queued: nothing to do.", deployment_id)
        return
    try:
        _see_through(deployment)
    except ClaimLost as error:
        logger.warning("Deployment %s: %s", deployment_id, error)
    except DeployManagerError as error:
        # Only what comes before the hosts raises: theirs stand on their rows.
        _give_up(deployment, State.FAILED, f"{error} No server was touched.")
    except Exception as error:
        # The border of the task: no deployment stays "running" behind an error of ours.
        logger.exception("Deployment %s stopped on an error", deployment_id)
        message = f"{type(error).__name__}: {error}. Look at the servers."
        _give_up(deployment, State.LOST, message)


def _give_up(deployment: Deployment, state: State, message: str) -> None:
    """End it over a new connection: that of before may be what failed, and stays dead then."""
    connection.close()
    deployment.finish(state, mask_text(message))


def _see_through(deployment: Deployment) -> None:
    with Writer(deployment) as writer:
        prepared = prepare(deployment)
        works = _works(deployment, prepared, writer)
        connection.close()  # what is idle for as long as servers work is cut by somebody
        _run_phases(prepared.story.phases, works, writer)
    deployment.finish(*_sum_up(deployment, works))
    _note_pins(deployment.environment, prepared)


def _works(deployment: Deployment, prepared: Prepared, writer: Writer) -> list[HostWork]:
    """One for each host of the deployment, with all it needs of the database."""
    runs = deployment.host_runs.select_related(
        "placement__server__gateway", "placement__active_release"
    ).prefetch_related("steps")
    works = []
    for run_ in runs:
        placement = run_.placement
        if placement is None:
            raise DeployManagerError(f"{run_.server_name} was taken out of the environment.")
        placement.environment = deployment.environment
        site = site_of(placement, prepared.release, prepared.archive)
        works.append(HostWork(run_, placement, site, writer))
    return works


def _run_phases(phases: Sequence[Phase], works: Sequence[HostWork], writer: Writer) -> None:
    most = min(len(works), get_settings().MAX_HOSTS_AT_ONCE)
    with ThreadPoolExecutor(max_workers=most, thread_name_prefix="host") as pool:
        for phase in phases:
            busy = [work for work in works if work.is_live and work.has_steps_in(phase.name)]
            list(pool.map(HostWork.run_phase, busy, [phase.name] * len(busy)))
            _close_the_gate(phase, works, writer)
        list(pool.map(HostWork.close, works))


def _close_the_gate(phase: Phase, works: Sequence[HostWork], writer: Writer) -> None:
    """Stop every host where one failed before the gate, or somebody cancelled."""
    if writer.stop.is_set():
        stop_all(works, State.CANCELLED, gettext_noop("Cancelled."))
    failed = [work.run.server_name for work in works if work.state in (State.FAILED, State.LOST)]
    if phase.gate and failed:
        stop_all(works, State.SKIPPED, f"Stopped, since {phase.title} failed on {failed[0]}.")


def _sum_up(deployment: Deployment, works: Sequence[HostWork]) -> tuple[State, str]:
    """The deployment's end, from those of its hosts, and why."""
    states = {work.state for work in works}
    if states == {State.SUCCEEDED}:
        return State.SUCCEEDED, ""
    reasons = "\n".join(
        f"{work.run.server_name}: {work.message}"
        for work in works
        if work.state in (State.FAILED, State.LOST)
    )
    if State.CANCELLED in states:
        deployment.refresh_from_db(fields=["cancel_requested_as"])
        return State.CANCELLED, f"Cancelled by {deployment.cancel_requested_as}.\n{reasons}".strip()
    if State.SUCCEEDED in states:
        return State.PARTLY_FAILED, reasons
    return (State.LOST if State.LOST in states else State.FAILED), reasons


def _note_pins(environment: Environment, prepared: Prepared) -> None:
    """Show the commit's pins as the environment's, once they really serve somewhere."""
    serves = prepared.release is not None and prepared.release.active_on.exists()
    if serves and prepared.pins and environment.pins_from == Environment.PinsFrom.COMMIT:
        replace_pins(environment, prepared.pins)
