"""JSON lines: an object for each event, the summary last."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from deploy_manager.cli.views.base import Report, View
from deploy_manager.deployments import as_json
from deploy_manager.deployments.progress import Progress
from deploy_manager.models import Deployment, HostRun


class JsonLines(View):
    """Every object has an `event`: plan, requested, host, step, output, note, summary and others.

    The last one is a summary, also of a command that was refused: its `state` is `refused` then,
    and its `message` the reason.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._hosts: dict[int, HostRun] = {}
        self._recipes: dict[int, str] = {}

    def begin(self, runs: Sequence[HostRun]) -> None:
        self._hosts = {run.pk: run for run in runs}
        self._recipes = {step.pk: step.recipe for run in runs for step in run.steps.all()}

    def update(self, progress: Progress) -> None:
        self._hosts.update({run.pk: run for run in progress.host_runs})
        servers = {key: run.server_name for key, run in self._hosts.items()}
        for change in as_json.changes_as_json(progress, servers, self._recipes):
            self._write(change)

    def show(self, report: Report) -> None:
        report.write_on(self)

    def say(self, text: str) -> None:
        self.write("note", text=text)

    def end(self, deployment: Deployment) -> None:
        self.write("summary", **as_json.summary_of(deployment, self._hosts.values()))

    def write(self, event: str, **values: Any) -> None:
        """Write one line at once. Raises SystemExit if the reader has closed the pipe."""
        self._write(as_json.event(event, **values))

    def _write(self, told: as_json.Event) -> None:
        try:
            # JSON escapes every control character but DEL, which a terminal acts on as well.
            line = json.dumps(told).replace("\x7f", "\\u007f")
            self._console.file.write(f"{line}\n")
            self._console.file.flush()
        except BrokenPipeError:
            self._console.on_broken_pipe()
