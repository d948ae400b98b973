"""What the chaos found and a small test shows."""

import sys
from pathlib import Path
from threading import Event

import pytest

from deploy_manager.exceptions import ConnectionLost
from deploy_manager.hosts import guard_line
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.guard_line import Work
from deploy_manager.hosts.guarded import open_guarded
from deploy_manager.hosts.pipes import Pipe


class Unheard:
    def __call__(self, stream: object, data: bytes) -> None: ...

    def note(self, line: bytes) -> None: ...

    def begin_command(self, index: int) -> None: ...


def test_a_connection_that_dies_before_anything_was_asked_for_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_relay, tries = guard_line._start_relay, []

    def die_at_first(host: guard_line.BareHost, work: Work) -> Pipe:
        tries.append(host)
        if len(tries) == 1:
            raise ConnectionLost("The connection was reset.")
        return start_relay(host, work)

    monkeypatch.setattr(guard_line, "_start_relay", die_at_first)
    work = Work(f"{tmp_path}/.deploy", sys.executable, "k" * 32, 1, 1, 1, "me", "a test")
    open_guarded(Address("here", local=True), work, Unheard(), Event()).close()
    assert len(tries) == 2
