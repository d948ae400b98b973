"""Servers whose processes are watched, which answer as a test says."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from deploy_manager.models import (
    Environment,
    LockFile,
    Notification,
    Placement,
    Release,
    SeenProcess,
    Watch,
)
from deploy_manager.recipes.processes import processes_archive
from deploy_manager.watching import judging, looking, rounds, starting, telling
from deploy_manager.watching.asking import Instance, Look, Place
from tests.inventory import Inventory

UP = Instance("web", "1", restarts="10 0", releases=("r1",))
WORKER = Instance("worker", "1", restarts="20 0", releases=("r1",))
DOWN = replace(UP, problem="gunicorn does not run.", restarts="", releases=())


@dataclass
class World:
    """Servers that answer as a test says, and what was heard and told."""

    inventory: Inventory
    answers: dict[str, Look | Exception] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    starts: Callable[[], bool] = lambda: True

    def add(self, name: str) -> Placement:
        """Add a server on which release r1 is deployed."""
        placement = self.inventory.add_server(name)
        Placement.objects.filter(pk=placement.pk).update(
            active_release=self.inventory.environment.releases.get(name="r1")
        )
        return placement

    def say(self, *found: Instance, on: str = "one", boot: str = "first", **more: object) -> None:
        self.answers[on] = Look(found, "systemd", boot, **more)  # type: ignore[arg-type]

    def look(self, times: int = 1) -> None:
        """Do what a worker does when servers are due."""
        for _time in range(times):
            rounds.watch(list(Placement.objects.values_list("pk", flat=True)))

    def states(self) -> dict[str, str]:
        rows = SeenProcess.objects.order_by("watch__placement", "name", "instance")
        return {f"{row.watch.placement.server} {row}": row.state for row in rows}

    @property
    def watch(self) -> Watch:
        return Watch.objects.get(placement__server__name="one")

    def look_at(self, place: Place) -> Look:
        answer = self.answers[place.address.name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def start_on(self, place: Place) -> bool:
        self.started.append(place.address.name)
        return self.starts()

    def send(self, target: str, title: str, text: str) -> None:
        self.told.append((title, text))


def serve(environment: Environment, name: str) -> None:
    """Let all servers of an environment serve a release by processes of ours."""
    environment.reload_method = environment.ReloadMethod.GUNICORN
    environment.save()
    lock = LockFile.objects.of("a" * 64, "a==1\n")
    release = Release.objects.create(environment=environment, name=name, commit="a" * 40, lock=lock)
    environment.placements.update(active_release=release)


@pytest.fixture
def world(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> World:
    """`one` serves release r1 by our own gunicorn, and `team` wants to hear of its processes."""
    environment = inventory.environment
    serve(environment, "r1")
    Notification.objects.create(environment=environment, target="team")
    made = World(inventory)
    monkeypatch.setattr(judging, "SETTLES", timedelta(0))
    monkeypatch.setattr(looking, "look_at", made.look_at)
    monkeypatch.setattr(starting, "start_on", made.start_on)
    monkeypatch.setattr(telling, "send", made.send)
    made.say(UP, WORKER)
    return made


def leave_a_deployment(folder: Path, release: str, **commands: str) -> None:
    """Leave what a deployment of these processes leaves in a deploy path; nothing is started."""
    tools = folder / ".deploy"
    tools.mkdir(exist_ok=True)
    (folder / "releases" / release / "venv/bin").mkdir(parents=True)
    (folder / "current").symlink_to(f"releases/{release}")
    (tools / "processes.pyz").write_bytes(processes_archive())
    facts = {
        "deploy_path": str(folder),
        "folder": "",
        "settings": "",
        "supervised_by": "starter",
        "processes": [
            {"name": name, "kind": "command", "command": command}
            for name, command in commands.items()
        ],
        "elsewhere": [],
        "procfile": False,
        "serves": False,
        "web_elsewhere": False,
    }
    (tools / "processes.json").write_text(json.dumps(facts))


def started_in(folder: Path) -> dict[str, int]:
    """Return the processes that were started in a deploy path by our own starter."""
    files = (folder / ".deploy/processes").glob("*.json")
    return {file.stem: json.loads(file.read_text())["pid"] for file in files}


def end_what_was_started(folder: Path) -> None:
    for pid in started_in(folder).values():
        # Each is the leader of a session of its own: see the starter.
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
