"""What supervisor runs is proven by its processes, as supervisord itself lists them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.hosts.address import Stream
from deploy_manager.recipes import HealthCheck, Reload, processes
from deploy_manager.recipes.serving import reload
from deploy_manager.recipes.verifying import verify
from tests.parts.served import Served, wait_until

SETTINGS = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[unix_http_server]
file={folder}/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/socket
[program:shop]
command=sleep 600
directory={directory}
startsecs=0
[program:dies]
command=false
directory={directory}
startsecs=0
"""


@dataclass
class Supervised:
    served: Served
    folder: Path

    def start(self, directory: Path) -> "subprocess.Popen[bytes]":
        settings = self.folder / "supervisord.conf"
        settings.write_text(SETTINGS.format(folder=self.folder, directory=directory))
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(settings)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until((self.folder / "socket").exists)
        return process

    def deploy(self, name: str, program: str = "shop") -> str:
        self.served.release(name)
        self.served.reload = Reload("supervisor", program)
        begin = len(self.served.log.of(Stream.STDOUT))
        reload(self.served.host, self.served.site)
        verify(self.served.host, replace(self.served.site, health=HealthCheck(deadline=1)))
        return self.served.log.of(Stream.STDOUT)[begin:].decode()


@pytest.fixture
def supervised(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervised:
    """A site with supervisorctl on its PATH; the test starts supervisord."""
    folder = tmp_path / "supervisor"
    folder.mkdir()
    control = folder / "supervisorctl"
    words = f"{sys.executable} -m supervisor.supervisorctl -c {folder}/supervisord.conf"
    control.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    control.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(processes, "GRACE_SECONDS", 2)
    return Supervised(served, folder)


@pytest.fixture
def started(supervised: Supervised) -> Iterator[Supervised]:
    """supervisord, whose programs begin in `current`."""
    supervised.served.release("zero")
    process = supervised.start(supervised.served.path / "current")
    yield supervised
    process.terminate()
    process.wait(20)


@pytest.mark.long
def test_a_program_is_seen_to_run_the_new_release(started: Supervised) -> None:
    assert "shop: 1 of its 1 processes run release one" in started.deploy("one")
    assert "run release two" in started.deploy("two")


def test_a_program_that_begins_in_an_old_folder_fails(supervised: Supervised) -> None:
    old = supervised.served.release("zero")
    process = supervised.start(old)
    try:
        with pytest.raises(CommandFailed, match="still runs release zero where one is current"):
            supervised.deploy("one")
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.long
def test_a_program_that_dies_fails_with_the_words_of_supervisor(started: Supervised) -> None:
    with pytest.raises(CommandFailed, match=r"dies +(EXITED|BACKOFF|STARTING|FATAL)|again"):
        started.deploy("one", "dies")
