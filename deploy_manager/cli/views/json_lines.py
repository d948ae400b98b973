"""JSON lines: an object for each event, the summary last."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from rich.console import Console

from deploy_manager.cli.views.base import Report, View
from deploy_manager.deployments.progress import Progress
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, HostRun, LogChunk, Step


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
        changes: list[LogChunk | Step | HostRun] = [
            *progress.chunks,
            *progress.steps,
            *progress.host_runs,
        ]
        # In the order in which they were written, which each kind of row alone does not show.
        for change in sorted(changes, key=attrgetter("sequence")):
            self._write_change(change)

    def show(self, report: Report) -> None:
        report.write_on(self)

    def say(self, text: str) -> None:
        self.write("note", text=text)

    def end(self, deployment: Deployment) -> None:
        self.write("summary", **summary_of(deployment, self._hosts.values()))

    def write(self, event: str, **values: Any) -> None:
        """Write one line at once. Raises SystemExit if the reader has closed the pipe."""
        try:
            # JSON escapes every control character but DEL, which a terminal acts on as well.
            line = json.dumps({"event": event, **_in_words(values)}, default=_inner_text)
            line = line.replace("\x7f", "\\u007f")
            self._console.file.write(f"{line}\n")
            self._console.file.flush()
        except BrokenPipeError:
            self._console.on_broken_pipe()

    def _write_change(self, change: LogChunk | Step | HostRun) -> None:
        if isinstance(change, LogChunk):
            self.write(
                "output",
                server=self._hosts[change.host_run_id].server_name,
                step=self._recipes[change.step_id],
                stream=LogChunk.Stream(change.stream).name.lower(),
                text=bytes(change.data).decode(errors="replace"),
            )
        elif isinstance(change, Step):
            self.write(
                "step",
                server=self._hosts[change.host_run_id].server_name,
                step=change.recipe,
                number=change.number,
                exit_code=change.exit_code,
                **_state_of(change),
            )
        else:
            self.write("host", server=change.server_name, wave=change.wave, **_state_of(change))


def summary_of(deployment: Deployment, runs: Iterable[HostRun]) -> dict[str, Any]:
    """Return what the summary of a deployment says, with the states of these hosts of it."""
    return {
        "deployment": deployment.pk,
        "state": deployment.state,
        "message": deployment.message,
        "commit": deployment.commit,
        "release": deployment.release.name if deployment.release else "",
        "started_at": _iso(deployment.started_at),
        "finished_at": _iso(deployment.finished_at),
        "servers": {run.server_name: run.state for run in runs},
    }


def _in_words(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with their messages as text, and the reasons of these."""
    codes = [code for each in values.values() if isinstance(each, Message) for code in each.codes]
    reasons = {"reason": list(dict.fromkeys(codes))} if codes else {}
    in_words = {
        name: str(value) if isinstance(value, Message) else value for name, value in values.items()
    }
    return reasons | in_words


def _inner_text(value: object) -> str:
    """Return a message inside of a list or an object as text. Raises TypeError for others."""
    if isinstance(value, Message):
        return str(value)
    raise TypeError(f"{value!r} is not JSON: it is of the type {type(value).__name__}.")


def _state_of(row: Step | HostRun) -> dict[str, Any]:
    return {
        "state": row.state,
        "message": row.message,
        "started_at": _iso(row.started_at),
        "finished_at": _iso(row.finished_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
