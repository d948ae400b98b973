"""Processes that are run by our own starter, as on servers without systemd."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes import HealthCheck, Process, Site, get_recipe, processes
from deploy_manager.recipes.remote.processes import starter
from deploy_manager.recipes.remote.processes.place import Place
from tests.parts.served import Served, wait_until


@dataclass
class Started:
    """A served site whose processes are run by the starter."""

    served: Served

    def site(self, *own: Process, **more: Any) -> Site:
        health = HealthCheck(url=f"http://{self.served.reload.bind}/", deadline=3)
        return replace(self.served.site, processes=own, health=health, **more)

    def run(self, site: Site, *recipes: str) -> None:
        for name in recipes or ("reload", "verify"):
            get_recipe(name).function(self.served.host, site)

    def running(self) -> dict[int, str]:
        """Return the site's processes, and their words."""
        own = f"DEPLOY_PATH={self.served.path}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if own in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = words.decode().strip()
            except OSError:
                continue
        return {pid: words for pid, words in found.items() if words}


@pytest.fixture
def started(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0)
    made = Started(served)
    yield made
    for pid in made.running():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def sleeper(name: str, command: str, **more: Any) -> Process:
    return Process(name, "command", command, **{"stays_up": 0, **more})


def test_gunicorn_takes_over_from_a_command_of_the_same_name(started: Started) -> None:
    bind = started.served.reload.bind
    command = "{python} -m gunicorn site_wsgi --bind {bind}"
    started.served.release("r1")
    started.run(started.site(Process("web", "wsgi", command, bind=bind)))
    started.served.release("r2")
    started.run(started.site(Process("web", "wsgi", bind=bind)))
    assert started.served.ask().text == "r2 "
    assert not [words for words in started.running().values() if "-m gunicorn" in words]


def test_a_line_may_begin_with_variables(started: Started) -> None:
    release = started.served.release("r1")
    (release / "Procfile").write_text("mail: COLOUR=blue sleep 600\n")
    started.run(started.site(procfile=True), "reload")
    (pid,) = [pid for pid, words in started.running().items() if words == "sleep 600"]
    assert b"COLOUR=blue" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


@pytest.mark.long
def test_what_ends_while_others_are_waited_for_is_seen(started: Started) -> None:
    started.served.release("r1")
    # Ages count from the start of the launcher, which takes its time on a busy machine.
    short, long = sleeper("short", "sleep 4"), sleeper("long", "sleep 600", stays_up=12)
    with pytest.raises(CommandFailed, match="short 1 does not run"):
        started.run(started.site(short, long))


def test_what_an_ended_process_left_behind_goes_with_the_next_deployment(
    started: Started,
) -> None:
    started.served.release("r1")
    mail = sleeper("mail", "sleep 601 & sleep 602")
    started.run(started.site(mail))
    state = json.loads((started.served.path / ".deploy/processes/mail@1.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    started.served.release("r2")
    started.run(started.site(mail))
    assert sorted(w for w in started.running().values() if w.startswith("sleep")) == [
        *("sleep 601", "sleep 602")
    ]


SLOW_TO_END = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(1)
    pathlib.Path("finished").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
time.sleep(600)
"""


@pytest.mark.long
def test_programs_of_a_pipe_have_their_time_to_end(started: Started) -> None:
    release = started.served.release("r1")
    (release / "job.py").write_text(SLOW_TO_END)
    started.run(started.site(sleeper("job", "{python} job.py 2>&1 | cat")))
    started.run(started.site(), "reload")
    assert (release / "finished").exists()


def test_what_served_the_site_is_back_however_often_the_other_way_was_tried(
    started: Started,
) -> None:
    started.served.release("r1")
    started.run(started.site())
    other = replace(started.site(), reload=replace(started.served.reload, method="command"))
    other = replace(other, reload=replace(other.reload, target="exit 1"))
    processes.apply_processes(started.served.host, other)  # by a worker that was killed then
    with pytest.raises(CommandFailed):
        started.run(other, "reload")
    assert started.served.ask().text == "r1 "


def test_beat_in_a_row_of_another_kind_is_refused(started: Started) -> None:
    release = started.served.release("r1")
    (release / "Procfile").write_text("beat: celery -A config beat\n")
    with pytest.raises(CommandFailed, match="choose the kind beat"):
        started.run(started.site(Process("beat", "worker"), procfile=True), "reload")


CRONTAB = """#!/bin/sh
if [ "$1" = -l ]; then {list}; else cat >{file}; fi
"""


@pytest.mark.parametrize("is_readable", [True, False])
def test_what_else_is_in_the_crontab_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_readable: bool
) -> None:
    (tmp_path / ".deploy").mkdir()
    theirs = "0 3 * * * save /srv/donn\xe9es\n".encode("latin-1")
    file, program = tmp_path / "crontab.txt", tmp_path / "crontab"
    file.write_bytes(theirs)
    fails = "echo 'crontab: too many open files' >&2; exit 1"
    program.write_text(CRONTAB.format(file=file, list=f"cat {file}" if is_readable else fails))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(starter, "_cron_runs", lambda: True)
    ours = starter.Starter(Place(str(tmp_path)), {})
    said = ours.keep_after_reboot()
    assert file.read_bytes().startswith(theirs)
    assert len(file.read_bytes().splitlines()) == (2 if is_readable else 1)
    assert ("too many open files" in said) is not is_readable
    ours.forget_after_reboot()
    assert file.read_bytes() == theirs


@pytest.mark.long
def test_after_a_reboot_nothing_is_started_that_systemd_has_taken_over(
    started: Started,
) -> None:
    started.served.release("r1")
    started.run(started.site(sleeper("mail", "sleep 600")), "reload")
    program = started.served.path / ".deploy/processes.pyz"
    facts = json.loads((started.served.path / ".deploy/processes.json").read_text())
    for pid in started.running():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not started.running())
    text = json.dumps({**facts, "supervised_by": "systemd"})
    (started.served.path / ".deploy/processes.json").write_text(text)
    subprocess.run([sys.executable, program, "boot", started.served.path], check=True)
    assert not started.running()


def test_a_worker_of_gunicorn_is_not_taken_for_its_master(started: Started) -> None:
    """A master that is killed leaves workers for some seconds, which have the address."""
    served = started.served
    served.release("r1")
    started.run(started.site())
    os.kill(served.master, signal.SIGKILL)
    served.release("r2")
    started.run(started.site())
    assert served.ask().text == "r2 "


def test_a_variable_that_hid_the_accounts_own_gives_it_back(started: Started) -> None:
    served = started.served
    served.release("r1", PATH="/opt/r1:/usr/bin", HOME="/nowhere")
    started.run(started.site())
    served.release("r2")
    started.run(started.site())
    variables = Path(f"/proc/{served.master}/environ").read_bytes().split(b"\0")
    assert os.fsencode(f"HOME={os.environ['HOME']}") in variables
    assert not [each for each in variables if b"/opt/r1" in each]


def test_all_of_it_can_be_ended_before_a_server_leaves(started: Started) -> None:
    started.served.release("r1")
    started.run(started.site(sleeper("mail", "sleep 600")))
    started.run(started.site(), "stop_processes")
    assert not started.running()
