"""What a server answers about its processes, by the program that a deployment left there."""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.hosts.address import Address
from deploy_manager.watching import asking
from deploy_manager.watching.asking import Look, Place, look_at, start_on
from tests.parts.matrices import few
from tests.parts.served import wait_until
from tests.watching import end_what_was_started, leave_a_deployment, started_in

INSTANCE = {
    "name": "web",
    "instance": "1",
    "is_known": True,
    "problem": "",
    "restarts": "",
    "releases": ["r1"],
}
ANSWER = {
    "release": "r1",
    "supervisor": "starter",
    "boot_id": "b",
    "booted_at": 1,
    "processes": [INSTANCE],
}


@dataclass
class Server:
    """This machine, with a deploy path of the test's own."""

    folder: Path

    @property
    def place(self) -> Place:
        return Place(Address("one", local=True), str(self.folder), shutil.which("python3") or "")

    @property
    def tools(self) -> Path:
        return self.folder / ".deploy"

    def put_program(self, text: str) -> None:
        """Leave a program that is not ours where ours would be."""
        (self.tools / "processes.pyz").write_text(text)

    def answer(self, text: str) -> None:
        self.put_program(f"print({text!r})")

    def deploy(self, release: str, **commands: str) -> None:
        leave_a_deployment(self.folder, release, **commands)

    def pids(self) -> dict[str, int]:
        """Return the processes that were started here."""
        return started_in(self.folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "shop")
    made.tools.mkdir(parents=True)
    yield made
    end_what_was_started(made.folder)


def problem_of(server: Server) -> str:
    with pytest.raises(RecipeError) as problem:
        look_at(server.place)
    return str(problem.value)


def changed(**values: object) -> str:
    return json.dumps({**ANSWER, **values})


def with_instance(**values: object) -> str:
    return changed(processes=[{**INSTANCE, **values}])


def test_where_nothing_was_started_nothing_is_wrong(server: Server) -> None:
    assert look_at(server.place) == Look()
    server.deploy("r1")
    (server.tools / "processes.json").unlink()
    assert look_at(server.place) == Look()
    assert start_on(server.place)


@pytest.mark.parametrize(
    "answer",
    few(
        "no JSON",
        "[" * 100_000,
        "null",
        "[]",
        changed(processes={}),
        changed(processes=["web"]),
        changed(release=None),
        changed(release="\ud800"),
        changed(booted_at="yesterday"),
        changed(booted_at=-1),
        changed(booted_at=10**30),
        changed(booted_at=True),
        changed(processes=[INSTANCE] * 1001),
        with_instance(is_known="no"),
        with_instance(restarts=7),
        with_instance(releases="r1"),
        with_instance(releases=[{}]),
    ),
)
def test_an_answer_that_is_none_is_refused(server: Server, answer: str) -> None:
    server.answer(answer)
    assert problem_of(server) == "The answer of one is not a list of its processes."


def test_an_answer_without_end_is_refused(server: Server) -> None:
    server.put_program("print('x' * 3_000_000)")
    assert problem_of(server) == "The answer of one is too long: its processes are not listed."


def test_what_a_server_says_is_cut_and_cleaned(server: Server) -> None:
    server.answer(
        "Welcome!\n" + with_instance(name="n" * 999, problem="\x1b[31m\x00 down" + "x" * 9999)
    )
    (found,) = look_at(server.place).processes
    assert found.name == "n" * 100
    assert found.problem.startswith("\ufffd[31m\ufffd down")
    assert len(found.problem) == 1000


def test_a_program_that_fails_says_why(server: Server) -> None:
    server.put_program("import sys; sys.exit('no such file: \\x1b')")
    assert problem_of(server) == "The processes of one can't be asked: no such file: \ufffd"


def test_a_server_that_hangs_is_given_up_in_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 0.5)
    server.put_program("import time; time.sleep(60)")
    assert problem_of(server) == "one did not answer in time."


def test_what_is_down_is_started_and_seen(server: Server) -> None:
    server.deploy("r1", mailer="sleep 600", clock="sleep 600")
    assert {each.problem for each in look_at(server.place).processes} == {
        "clock 1 does not run.",
        "mailer 1 does not run.",
    }
    assert start_on(server.place)
    look = look_at(server.place)
    assert [(each.name, each.problem, each.releases) for each in look.processes] == [
        ("clock", "", ("r1",)),
        ("mailer", "", ("r1",)),
    ]
    assert look.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert look.booted_at is not None
    assert time.time() - look.booted_at.timestamp() > 0
    before = server.pids()
    os.kill(before["mailer@1"], signal.SIGKILL)
    wait_until(lambda: "mailer 1 does not run." in problems(server))
    assert start_on(server.place)
    after = server.pids()
    assert after["clock@1"] == before["clock@1"]
    assert after["mailer@1"] != before["mailer@1"]


def problems(server: Server) -> set[str]:
    return {each.problem for each in look_at(server.place).processes}


def test_a_look_changes_nothing_there(server: Server) -> None:
    server.deploy("r1", mailer="sleep 600")

    def files() -> set[tuple[Path, int]]:
        return {(path, path.lstat().st_mtime_ns) for path in server.folder.rglob("*")}

    before = files()
    look_at(server.place)
    assert files() == before


def test_what_does_not_start_is_told(server: Server) -> None:
    server.deploy("r1", mailer="echo no such queue; exit 3")
    with pytest.raises(RecipeError, match=r"mailer ended at once\.\nno such queue"):
        start_on(server.place)


def test_nothing_is_started_while_the_deploy_path_is_locked(server: Server) -> None:
    server.deploy("r1", mailer="sleep 600")
    with (server.tools / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        assert not start_on(server.place)
    assert server.pids() == {}


@pytest.mark.as_root
def test_no_program_is_run_that_another_account_has_put_there(server: Server) -> None:
    server.deploy("r1", web="sleep 100")
    server.answer(json.dumps(ANSWER))
    os.chown(server.tools / "processes.pyz", 54321, 54321)
    with pytest.raises(RecipeError, match="belongs to another account"):
        look_at(server.place)
