"""The course of a deployment as a whole: its waves, its waiting and its pauses."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from deploy_manager.cli.text import shorten
from deploy_manager.deployments.times import describe_moment
from deploy_manager.models import Deployment, HostRun, State


class Waves:
    """Maps the stages of a deployment to its waves."""

    def __init__(self, runs: Sequence[HostRun]) -> None:
        self._runs = runs
        self.number = max((run.wave for run in runs), default=1)
        self._at = {
            step.stage: run.wave
            for run in runs
            for step in run.steps.all()
            if step.in_waves and self.number > 1
        }

    def at(self, stage: int) -> int:
        """Return the number of the wave that a stage belongs to; 0 if it belongs to none."""
        return self._at.get(stage, 0)

    def describe(self, wave: int) -> str:
        """Return a line like `Wave 1 of 3: one, two`."""
        names = [run.server_name for run in self._runs if run.wave == wave]
        return f"Wave {wave} of {self.number}: {shorten(names)}"


class Course:
    """Describes each turn of a deployment once: the end of its waiting, a pause between waves."""

    def __init__(self, runs: Sequence[HostRun]) -> None:
        self._waves = Waves(runs)
        self._waited = False
        self._pauses_until: datetime | None = None

    def turns(self, deployment: Deployment) -> Iterator[str]:
        """Yield a line for each turn since the last call."""
        waits = deployment.state == State.WAITING
        if self._waited and not waits:
            yield f"#{deployment.pk} waits no longer."
        self._waited = waits
        if deployment.opens_at and deployment.opens_at != self._pauses_until:
            self._pauses_until = deployment.opens_at
            until = describe_moment(deployment.opens_at, deployment.environment)
            wave = self._waves.at(deployment.stage) + 1
            yield f"Pause until {until}, before wave {wave} of {self._waves.number}."
