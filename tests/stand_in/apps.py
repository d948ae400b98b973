"""Replaces what opens a connection, once Django is ready."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import AppConfig

from deploy_manager.hosts.address import Stream
from deploy_manager.recipes.host import Result

LINES = int(os.environ.get("STAND_IN_LINES", "10"))


class StandIn:
    """A host that has done everything already."""

    handed_over = None

    def __init__(self, name: str, sink: Any) -> None:
        self.name = name
        self._sink = sink
        self._index = 0

    def begin_step(self, *details: Any) -> None:
        self._index = 0

    def run(self, command: Any, **options: Any) -> Any:
        self._sink.begin_command(self._index)
        self._index += 1
        self.say(f"$ {command}")
        for number in range(LINES):
            self._sink(Stream.STDOUT, f"line {number} of {command} on {self.name}\n".encode())
        return Result(0, "", "")

    def look(self, command: Any) -> Any:
        return Result(0, "releases/r1\nreleases/r1/.complete\n", "")

    def say(self, text: str) -> None:
        self._sink(Stream.OUR_OWN, f"{text}\n".encode())

    @contextmanager
    def cd(self, folder: str) -> Iterator[None]:
        yield

    def put(self, *details: Any, **options: Any) -> None: ...

    def close(self) -> None: ...


class StandInConfig(AppConfig):
    name = "tests.stand_in"

    def ready(self) -> None:
        from deploy_manager.deployments import host_work  # noqa: PLC0415  needs models

        def open_stand_in(address: Any, work: Any, sink: Any, *rest: Any, **options: Any) -> Any:
            return StandIn(address.name, sink)

        host_work.open_guarded = open_stand_in  # type: ignore[attr-defined]
