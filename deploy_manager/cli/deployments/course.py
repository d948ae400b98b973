"""Where a deployment stands as a whole: which wave it is in, that it waited, when it pauses."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from deploy_manager.cli.moments import describe_moment
from deploy_manager.cli.text import shorten
from deploy_manager.models import Deployment, HostRun, State


class Waves:
    """Which stages of a deployment are its waves."""

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
        """Return the number of the wave that a stage is; 0: it is none."""
        return self._at.get(stage, 0)

    def describe(self, wave: int) -> str:
        """Return like `Wave 1 of 3: one, two`."""
        names = [run.server_name for run in self._runs if run.wave == wave]
        return f"Wave {wave} of {self.number}: {shorten(names)}"


class Course:
    """Tells each turn of a deployment once, in words."""

    def __init__(self, runs: Sequence[HostRun]) -> None:
        self._waves = Waves(runs)
        self._waited = False
        self._pauses_until: datetime | None = None

    def turns(self, deployment: Deployment) -> Iterator[str]:
        """Yield what is to be told since the last time this was asked."""
        waits = deployment.state == State.WAITING
        if self._waited and not waits:
            yield f"#{deployment.pk} waits no longer."
        self._waited = waits
        if deployment.opens_at and deployment.opens_at != self._pauses_until:
            self._pauses_until = deployment.opens_at
            until = describe_moment(deployment.opens_at, deployment.environment)
            wave = self._waves.at(deployment.stage) + 1
            yield f"Pause until {until}, before wave {wave} of {self._waves.number}."
