"""Commands of manage.py in this process, and a worker in threads that hears every bell."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from deploy_manager import dispatch
from deploy_manager.deployments.run import run


def call(*words: str) -> str:
    """Return what a command printed to stdout."""
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def call_and_fail(*words: str) -> tuple[int, str]:
    """Return the exit code and what was printed to stdout of a command that does not succeed."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command(*words, stdout=out)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, out.getvalue()


def call_and_be_refused(*words: str) -> str:
    """Return why a command was refused, with the exit code for that."""
    with pytest.raises(CommandError) as refusal:
        call_command(*words, stdout=io.StringIO())
    assert refusal.value.returncode == 2
    return str(refusal.value)


def events(text: str) -> list[dict[str, Any]]:
    """Return the JSON lines of a command."""
    return [json.loads(line) for line in text.splitlines()]


@dataclass
class Worker:
    """Runs what it is told of in threads; deaf, it only notes which bells were rung."""

    is_deaf: bool = False
    woken: list[int] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def wake(self, deployment_id: int) -> bool:
        self.woken.append(deployment_id)
        if not self.is_deaf:
            self.threads.append(threading.Thread(target=self.work, args=(deployment_id,)))
            self.threads[-1].start()
        return True

    def work(self, deployment_id: int) -> None:
        run(deployment_id)
        connections.close_all()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that hears every bell of a request."""
    made = Worker()
    monkeypatch.setattr(dispatch, "wake", made.wake)
    yield made
    for thread in made.threads:
        thread.join()
