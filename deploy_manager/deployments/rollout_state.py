"""What the rows of a deployment say between two stages. No recipe and no phase is looked up."""

from collections.abc import Iterator
from functools import cached_property

from deploy_manager.models import BROKEN, BUSY, Deployment, HostRun, State, Step
from deploy_manager.rollout_size import is_too_many


class RolloutState:
    """A deployment's hosts and steps, as they were written, and what follows from them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._turns_back = False

    def look_again(self) -> None:
        """Forget what was read: hosts were ended meanwhile."""
        del self._hosts

    @cached_property
    def _hosts(self) -> list[HostRun]:
        return list(self._deployment.host_runs.prefetch_related("steps").order_by("pk"))

    @property
    def _live(self) -> list[HostRun]:
        return [host for host in self._hosts if host.state in BUSY]

    @property
    def _broken(self) -> list[HostRun]:
        return [host for host in self._hosts if host.state in BROKEN]

    def why_to_stop(self) -> str:
        """Why no other server may get the release; blank: nothing speaks against it."""
        if not self._broken or self._deployment.stage == self._rollback_stage:
            return ""
        for host in self._broken:
            if step := self._failed_for_all(host):
                return f"Stopped, since {step.phase_name} failed on {host.server_name}."
        most = self._deployment.max_failures
        is_decisive = any(step.gate or step.in_waves for step in self._steps_of(self._stage))
        if is_decisive and is_too_many(len(self._broken), len(self._hosts), most):
            return (
                f"Stopped, since {self._what_failed()}: {most or 0} of {len(self._hosts)} may fail."
            )
        return ""

    def _failed_for_all(self, host: HostRun) -> Step | None:
        """The step of the open stage that ran once for all of the servers, and failed here."""
        step = _failed_step(host)
        is_now = step is not None and step.stage == self._stage
        return step if step and is_now and step.gate and step.once else None

    def _what_failed(self) -> str:
        """Each phase that failed, in their order, and where it did."""
        failed: dict[tuple[int, int, str], list[str]] = {}
        for host in self._broken:
            step = _failed_step(host) or self._steps_of(self._stage)[0]
            key = (step.stage, step.number, step.phase_name)
            failed.setdefault(key, []).append(host.server_name)
        by_phase: dict[str, list[str]] = {}
        for key in sorted(failed):
            by_phase.setdefault(key[2], []).extend(failed[key])
        return " and ".join(
            f"{phase} failed on {', '.join(names)}" for phase, names in by_phase.items()
        )

    def not_switched(self) -> list[int]:
        """The hosts that are still live and do not serve the release."""
        return [host.pk for host in self._live if not host.was_switched]

    def wants_back(self) -> bool:
        """Whether servers that were switched go back to what they served."""
        return self._deployment.rolls_back and any(
            host.was_switched and host.release_before_id for host in self._live
        )

    def turn_back(self) -> None:
        """Let the rollback be the next stage."""
        self._turns_back = True

    def next_stage(self) -> int | None:
        """The next stage with something to do on a host that is live; None: nothing is left."""
        if self._turns_back:
            return self._rollback_stage
        stages = [
            step.stage
            for host in self._live
            for step in host.steps.all()
            if step.state in BUSY and not step.is_rollback
        ]
        later = [stage for stage in stages if stage > self._deployment.stage]
        return min(later, default=None)

    @property
    def pause(self) -> int:
        """Seconds between two waves."""
        return self._deployment.pause

    def pauses_before(self, stage: int) -> bool:
        """Whether it is between two waves, and there is to be a pause."""
        if self._turns_back or not self.pause:
            return False
        return all(
            any(step.in_waves for step in self._steps_of(each)) for each in (self._stage, stage)
        )

    @property
    def _stage(self) -> int:
        return self._deployment.stage

    @property
    def _rollback_stage(self) -> int | None:
        return next((step.stage for step in self._steps if step.is_rollback), None)

    @property
    def _steps(self) -> Iterator[Step]:
        return (step for host in self._hosts for step in host.steps.all())

    def _steps_of(self, stage: int) -> list[Step]:
        return [step for step in self._steps if step.stage == stage]


def _failed_step(host: HostRun) -> Step | None:
    """The step that broke a host; None where it was none."""
    failed = (State.FAILED, State.LOST)
    way = (step for step in host.steps.all() if not step.is_rollback)
    return next((step for step in way if step.state in failed), None)
