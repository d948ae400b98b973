"""Who stops watching a deployment: Ctrl-C leaves it, cancels it or watches on; a closed pipe."""

import os
import subprocess
import sys

import pytest

from tests.parts.matrices import few
from tests.parts.own_project import OwnProject, Terminal

CTRL_C = "\x03"
QUESTION = "Leave it running"


@pytest.fixture
def watched(own_project: OwnProject) -> Terminal:
    """`manage.py recipe production linger`, which no worker takes."""
    terminal = own_project.open_terminal("python", "manage.py", "recipe", "production", "linger")
    terminal.read_until("as shown? [y/N]")
    terminal.type("y\r")
    terminal.read_until("state")
    return terminal


def test_leaving_it_leaves_the_row_as_it_is(watched: Terminal, own_project: OwnProject) -> None:
    watched.type(CTRL_C)
    watched.read_until(QUESTION)
    watched.type("l\n")
    assert watched.wait() == 1
    assert "goes on without you" in watched.seen
    assert own_project.deployments() == ["manage.py linger queued"]


def test_cancelling_ends_it(watched: Terminal, own_project: OwnProject) -> None:
    watched.type(CTRL_C)
    watched.read_until(QUESTION)
    watched.type("c\n")
    assert watched.wait() == 1
    assert own_project.deployments() == ["manage.py linger cancelled"]
    # The terminal is left as it was.
    assert watched.seen.rindex("\x1b[?25h") > watched.seen.rindex("\x1b[?25l")


@pytest.mark.long
def test_watching_on_is_the_answer_to_return(watched: Terminal) -> None:
    watched.type(CTRL_C)
    watched.read_until(QUESTION)
    watched.type("\n")
    watched.seen = ""
    watched.read_until("No worker has taken it yet")
    watched.type(CTRL_C)
    watched.read_until(QUESTION)
    watched.type("c\n")
    assert watched.wait() == 1


@pytest.mark.long
def test_a_second_ctrl_c_leaves_it(watched: Terminal, own_project: OwnProject) -> None:
    watched.type(CTRL_C)
    watched.read_until(QUESTION)
    watched.type(CTRL_C)
    assert watched.wait() == 1
    assert own_project.deployments() == ["manage.py linger queued"]


@pytest.mark.long
def test_where_nobody_can_answer_it_is_left_running(own_project: OwnProject) -> None:
    process = own_project.start("python", "manage.py", "recipe", "production", "linger")
    assert process.stdout is not None
    printed = ""
    while "queued" not in printed:
        line = process.stdout.readline()
        assert line, f"It ended:\n{printed}"
        printed += line
    process.send_signal(2)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 1, rest
    assert "goes on without you" in rest
    assert own_project.deployments() == ["manage.py linger queued"]


@pytest.mark.parametrize("options", few([], ["--json"]))
def test_where_nobody_reads_on_there_is_no_traceback(
    own_project: OwnProject, options: list[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "manage.py", "recipe", "production", "ping", *options],
        cwd=own_project.folder,
        env=own_project.environ,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, "")
