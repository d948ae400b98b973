"""What the rows of a deployment say between two stages."""

from functools import cached_property

from deploy_manager.exceptions import UnknownRecipe
from deploy_manager.models import BROKEN, BUSY, Deployment, HostRun, State
from deploy_manager.recipes import Phase, Scope, get_recipe, get_story
from deploy_manager.runner.strategy import pause_of, strategy_of
from deploy_manager.runner.waves import ROLL_BACK
from deploy_manager.shares import is_too_many


class Board:
    """A deployment's hosts and steps, as they were written, and what follows from them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._strategy = strategy_of(deployment.environment, deployment.recipe)
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
        if not self._broken or self._deployment.stage == self._stage_of_the_way_back:
            return ""
        phases = {phase.name: phase for phase in self._phases}
        phase = next((phases[name] for name in self._phases_now if name in phases), None)
        if phase and phase.gate and self._failed_once():
            return f"Stopped, since {phase.title} failed on {self._broken[0].server_name}."
        is_decisive = phase is not None and (phase.gate or phase.in_waves)
        most = self._strategy.max_failures
        if is_decisive and is_too_many(len(self._broken), len(self._hosts), most):
            names = ", ".join(host.server_name for host in self._broken)
            return (
                f"Stopped, since {phase.title if phase else ''} failed on {names}:"
                f" {most or 0} of {len(self._hosts)} may fail."
            )
        return ""

    def not_switched(self) -> list[int]:
        """The hosts that are still live and do not serve the release."""
        return [host.pk for host in self._live if not host.was_switched]

    def wants_back(self) -> bool:
        """Whether servers that were switched go back to what they served."""
        return self._strategy.rolls_back and any(
            host.was_switched and host.release_before_id for host in self._live
        )

    def turn_back(self) -> None:
        """Let the way back be the next stage."""
        self._turns_back = True

    def next_stage(self) -> int | None:
        """The next stage with something to do on a host that is live; None: nothing is left."""
        if self._turns_back:
            return self._stage_of_the_way_back
        stages = [
            step.stage
            for host in self._live
            for step in host.steps.all()
            if step.state in BUSY and step.phase != ROLL_BACK.name
        ]
        later = [stage for stage in stages if stage > self._deployment.stage]
        return min(later, default=None)

    @cached_property
    def pause(self) -> int:
        """Seconds between two waves."""
        return pause_of(self._deployment)

    def pauses_before(self, stage: int) -> bool:
        """Whether it is between two waves, and there is to be a pause."""
        if self._turns_back or not self.pause:
            return False
        waves = {phase.name for phase in self._phases if phase.in_waves}
        return bool(self._phases_of(stage) & waves and self._phases_now & waves)

    @property
    def _stage_of_the_way_back(self) -> int | None:
        steps = (step for host in self._hosts for step in host.steps.all())
        return next((step.stage for step in steps if step.phase == ROLL_BACK.name), None)

    @cached_property
    def _phases(self) -> tuple[Phase, ...]:
        try:
            return get_story(self._deployment.recipe).phases
        except UnknownRecipe:
            return ()

    @property
    def _phases_now(self) -> set[str]:
        return self._phases_of(self._deployment.stage)

    def _phases_of(self, stage: int) -> set[str]:
        return {
            step.phase for host in self._hosts for step in host.steps.all() if step.stage == stage
        }

    def _failed_once(self) -> bool:
        """Whether what runs once for all of the servers failed in this stage."""
        return any(
            step.stage == self._deployment.stage
            and step.state in (State.FAILED, State.LOST)
            and get_recipe(step.recipe).scope is not Scope.EACH_HOST
            for host in self._broken
            for step in host.steps.all()
        )
