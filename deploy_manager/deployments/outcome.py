"""How a deployment ended, from how its hosts did."""

from collections.abc import Iterable

from django.db.models.functions import Now

from deploy_manager.models import BROKEN, BUSY, ROLLBACK_PHASE, Deployment, HostRun, State, Step

NOT_NEEDED = "Not needed."


def end_hosts(
    deployment: Deployment, state: State, message: str, hosts: Iterable[int] | None = None
) -> None:
    """End live hosts that nobody works on, all or some. Who came through has succeeded.

    To be called with the deployment's row locked.
    """
    live = deployment.host_runs.filter(state__in=BUSY)
    if hosts is not None:
        live = live.filter(pk__in=list(hosts))
    for host in live.prefetch_related("steps"):
        way = [step for step in host.steps.all() if not step.is_rollback]
        came_through = all(step.state == State.SUCCEEDED for step in way)
        _end_host(deployment, host, *((State.SUCCEEDED, "") if came_through else (state, message)))


def _end_host(deployment: Deployment, host: HostRun, state: State, message: str) -> None:
    ended = {"finished_at": Now(), "sequence": deployment.sequence}
    left = Step.objects.filter(host_run=host, state__in=BUSY)
    left.filter(phase=ROLLBACK_PHASE).update(state=State.SKIPPED, message=NOT_NEEDED, **ended)
    skipped = State.CANCELLED if state is State.CANCELLED else State.SKIPPED
    left.update(state=skipped, message=message, **ended)
    HostRun.objects.filter(pk=host.pk).update(state=state, message=message, **ended)


def sum_up(deployment: Deployment) -> tuple[State, str]:
    """Return a deployment's state and message, from those of its hosts."""
    hosts = list(deployment.host_runs.order_by("pk"))
    states = {State(host.state) for host in hosts}
    broken = [host for host in hosts if host.state in BROKEN]
    reasons = "\n".join(f"{host.server_name}: {host.message}" for host in broken)
    if states == {State.SUCCEEDED}:
        return State.SUCCEEDED, ""
    if State.CANCELLED in states:
        by = f"Cancelled by {deployment.cancel_requested_by_name}."
        return State.CANCELLED, "\n".join(filter(None, (by, _reached(hosts), reasons)))
    if State.SUCCEEDED in states:
        return State.PARTLY_FAILED, reasons
    if State.LOST in states:
        return State.LOST, reasons
    if State.ROLLED_BACK in states and State.FAILED not in states:
        return State.ROLLED_BACK, reasons
    return State.FAILED, reasons


def _reached(hosts: list[HostRun]) -> str:
    """Say on which servers something was done, where a deployment was stopped half-way."""
    reached = [host.server_name for host in hosts if host.started_at]
    switched = [host.server_name for host in hosts if host.was_switched]
    if not reached:
        return "No server was reached."
    served = f"; the new release was switched to on {', '.join(switched)}" if switched else ""
    return f"Reached: {', '.join(reached)}{served}."
