"""The command on a machine without Django, against a live manager over TLS."""

import functools
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.client import Client, Ended, install_client, lowest
from tests.parts.manager import Manager
from tests.parts.matrices import few
from tests.parts.own_project import Terminal
from tests.parts.pythons import oldest_and_newest_first, pythons
from tests.parts.repository import Repository

CTRL_C = "\x03"
QUESTION = "Leave it running"


@pytest.fixture(scope="module")
def installed(
    tmp_path_factory: pytest.TempPathFactory, client_wheel: Path
) -> Callable[[int], Path]:
    """The command for a Python: for the oldest one with the oldest libraries."""

    @functools.cache
    def install(minor: int) -> Path:
        words = lowest() if minor == min(pythons()) else []
        folder = tmp_path_factory.mktemp("client") / "venv"
        return install_client(folder, pythons()[minor], client_wheel, *words)

    return install


@pytest.fixture(params=few(*oldest_and_newest_first()))
def program(request: pytest.FixtureRequest, installed: Callable[[int], Path]) -> Path:
    return installed(request.param)


@pytest.fixture
def as_(program: Path, live_manager: Manager, tmp_path: Path) -> Callable[[str], Client]:
    """The command, asking by a token."""
    return lambda name: live_manager.client(program, tmp_path, name)


@pytest.fixture
def boss(as_: Callable[[str], Client]) -> Client:
    return as_("boss")


@pytest.mark.parametrize("minor", few(*oldest_and_newest_first(), first=2))
def test_it_needs_no_django(
    installed: Callable[[int], Path], minor: int, live_manager: Manager, tmp_path: Path
) -> None:
    program = installed(minor)
    lines = "import sys, deploy_manager.client.main; print(*sys.version_info[:2]); import django"
    command = [str(program.with_name("python")), "-c", lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"3 {minor}\n"
    assert "No module named 'django'" in done.stderr
    ended = live_manager.client(program, tmp_path, "boss").run(
        "recipe", "lab", "greet_all", "--json"
    )
    assert (ended.code, ended.err, summary(ended)["state"]) == (0, "", "succeeded")


def summary(ended: Ended) -> dict[str, object]:
    """Return the last thing that a program was told, which is always a summary."""
    assert "Traceback" not in ended.err
    last = ended.events[-1]
    assert last.pop("event") == "summary"
    return last


def test_a_person_logs_in_on_a_terminal(
    as_: Callable[[str], Client], live_manager: Manager, tmp_path: Path
) -> None:
    client = as_("boss")
    stranger = Client(client.program, tmp_path, {"HOME": str(tmp_path)})
    terminal = stranger.open_terminal("login", "--ca-file", str(live_manager.authority.bundle))
    terminal.read_until("Address of the manager")
    terminal.type(f"{live_manager.url}\n")
    terminal.read_until("Token: ")
    terminal.type(f"{live_manager.tokens['boss']}\n")
    assert terminal.wait() == 0
    assert "Logged in" in terminal.seen
    assert live_manager.tokens["boss"] not in terminal.seen  # it is not shown while it is typed
    file = tmp_path / ".config/deploy-manager/config.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    me = stranger.run("me", "--json")
    assert (me.code, summary(me)["user"]) == (0, "boss")
    assert stranger.run("logout").code == 0
    assert stranger.run("me").code == 2


def test_whom_nobody_vouches_for_gets_no_token(as_: Callable[[str], Client]) -> None:
    client = as_("boss")
    del client.variables["SSL_CERT_FILE"]
    ended = client.run("me", "--json")
    assert ended.code == 2
    assert "is not trusted" in str(summary(ended)["message"])


def test_who_may_not_is_told_why(as_: Callable[[str], Client]) -> None:
    unknown = as_("dm_unknown").run("me", "--json")
    assert (unknown.code, summary(unknown)["reason"]) == (2, ["unauthorized"])
    viewer = as_("viewer")
    assert viewer.run("status", "lab").code == 0
    refused = viewer.run("recipe", "lab", "greet_all", "--json")
    assert (refused.code, summary(refused)["reason"]) == (2, ["forbidden"])
    hidden = viewer.run("watch", "999999", "--json")
    assert (hidden.code, summary(hidden)["reason"]) == (2, ["not_found"])


def test_a_recipe_is_planned_requested_and_watched(boss: Client) -> None:
    ended = boss.run("recipe", "lab", "greet_all", "--reason", "Hello", "--json")
    told = ended.events
    assert ended.code == 0
    assert [told[0]["event"], told[1]["event"]] == ["plan", "requested"]
    said = [each["text"] for each in told if each["event"] == "output"]
    assert {"hello from one\n", "hello from two\n"} <= set(said)
    ends = summary(ended)
    assert ends["servers"] == {"one": "succeeded", "two": "succeeded"}
    number = str(ends["deployment"])
    assert boss.run("watch", number).code == 0
    lines = boss.run("logs", number, "--server", "one").out
    assert "hello from one" in lines
    assert "hello from two" not in lines
    assert f"#{number}" in boss.run("deployments", "lab").out


def test_what_fails_somewhere_ends_with_1_and_is_run_again(boss: Client) -> None:
    ended = boss.run("recipe", "lab", "fail_on_two", "--json")
    assert (ended.code, summary(ended)["state"]) == (1, "partly_failed")
    again = boss.run("retry", "lab", "--json")
    assert (again.code, summary(again)["servers"]) == (1, {"two": "failed"})


def test_what_is_refused_ends_with_2(boss: Client) -> None:
    for words in (
        ("deploy", "nowhere"),
        ("recipe", "lab", "nothing"),
        ("rollback", "lab"),
        ("cancel", "lab"),
    ):
        ended = boss.run(*words, "--json")
        assert (ended.code, summary(ended)["state"]) == (2, "refused"), words


def test_it_need_not_be_watched(boss: Client) -> None:
    ended = boss.run("recipe", "lab", "greet_all", "--no-wait", "--json")
    assert ended.code == 0
    number = str(summary(ended)["deployment"])
    assert boss.run("watch", number).code == 0


def test_output_can_t_drive_a_terminal(boss: Client) -> None:
    out = boss.run("recipe", "lab", "paint").out
    assert "red" in out
    assert "\x1b" not in out
    assert "owned" not in out
    number = boss.run("deployments", "lab", "--limit", "1", "--json").events[0]["number"]
    assert "\x1b" not in boss.run("logs", str(number)).out


@pytest.fixture
def lingering(boss: Client, live_manager: Manager) -> Iterator[Path]:
    """The file that lets `linger` end; both servers' are made afterwards."""
    gates = [live_manager.sites / "lab" / name / "go" for name in ("one", "two")]
    for gate in gates:
        gate.parent.mkdir(parents=True, exist_ok=True)
        gate.unlink(missing_ok=True)
    yield gates[0]
    boss.run("cancel", "lab")
    for gate in gates:
        gate.touch()


def open_lingering(boss: Client) -> Terminal:
    terminal = boss.open_terminal("recipe", "lab", "linger", "--server", "one")
    terminal.read_until("as shown? [y/N]")
    terminal.type("y\n")
    terminal.read_until("lingering")
    return terminal


def test_ctrl_c_asks_and_leaves(boss: Client, lingering: Path) -> None:
    terminal = open_lingering(boss)
    terminal.type(CTRL_C)
    terminal.read_until(QUESTION)
    terminal.seen = ""
    terminal.type("\n")  # watch on
    terminal.read_until("\x1b[?25l")
    time.sleep(1)
    terminal.type(CTRL_C)
    terminal.read_until(QUESTION)
    terminal.type("l\n")
    assert terminal.wait() == 1
    assert "goes on without you" in terminal.seen
    assert "running" in boss.run("status", "lab").out


def test_ctrl_c_asks_and_cancels(boss: Client, lingering: Path) -> None:
    terminal = open_lingering(boss)
    terminal.type(CTRL_C)
    terminal.read_until(QUESTION)
    terminal.type("c\n")
    assert terminal.wait() == 1
    assert "cancelled" in terminal.seen
    # The terminal is left as it was.
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")


def start_lingering(boss: Client) -> "subprocess.Popen[str]":
    process = boss.start("recipe", "lab", "linger", "--server", "one", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if "lingering\\n" in line:
            return process
    pytest.fail(process.communicate()[1])


def test_ctrl_c_without_a_terminal_leaves_it_running(boss: Client, lingering: Path) -> None:
    process = start_lingering(boss)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (1, "")
    assert "goes on without you" in out
    assert json.loads(out.splitlines()[-1])["state"] == "running"
    cancelled = boss.run("cancel", "lab", "--json")
    assert (cancelled.code, summary(cancelled)["state"]) == (0, "cancelled")


def test_who_declines_requests_nothing(boss: Client) -> None:
    before = len(boss.run("deployments", "lab", "--json").events)
    terminal = boss.open_terminal("recipe", "lab", "greet_all")
    terminal.read_until("as shown? [y/N]")
    terminal.type("n\n")
    assert terminal.wait() == 2
    assert len(boss.run("deployments", "lab", "--json").events) == before


def test_a_manager_that_is_restarted_is_waited_for(
    boss: Client, live_manager: Manager, lingering: Path
) -> None:
    """Nothing is missed, and nothing comes twice."""
    process = start_lingering(boss)
    live_manager.stop()
    lingering.touch()  # it ends while nobody can be asked
    time.sleep(2)
    assert process.poll() is None
    live_manager.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    assert told[-1]["state"] == "succeeded"
    assert [each["state"] for each in told if each["event"] == "step"] == ["succeeded"]
    assert [each["event"] for each in told].count("summary") == 1


def test_ctrl_c_before_a_request_says_that_nothing_was_requested(boss: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        boss.variables["DEPLOY_MANAGER_URL"] = f"https://127.0.0.1:{port}/deploy/"
        process = boss.start("deploy", "production", "--json")
        connection, _address = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (2, "Stopped before anything was requested.\n")
    assert json.loads(out)["state"] == "refused"


def done(client: Client, *words: str) -> dict[str, object]:
    """Return the summary of a command that succeeded."""
    ended = client.run(*words, "--json")
    assert ended.code == 0, f"{words}: {ended.out[-2000:]}{ended.err}"
    return summary(ended)


def test_code_goes_to_staging_then_to_production_and_back(
    boss: Client, shop_code: Repository
) -> None:
    # Other tests share the repository: what it holds so far may be what nobody reported on.
    first = shop_code.commit("Sell scarves and gloves", {"shelf.txt": "scarves, gloves"})
    done(boss, "report", "shop", first, "success", "--context", "tests")
    assert done(boss, "deploy", "staging", "--reason", "It opens")["commit"] == first
    promoted = boss.run("plan", "production", "--recipe", "promote", "--json").events[0]
    assert (promoted["commit"], promoted["promotes"]) == (first, "shop/staging")
    assert done(boss, "promote", "production", "--from", "staging")["commit"] == first
    refused = boss.run("deploy", "production", "--json")
    assert (refused.code, summary(refused)["reason"]) == (2, ["not_promoted"])
    second = shop_code.commit("Sell hats", {"hats.txt": "hats"})
    done(boss, "report", "shop", second, "success", "--context", "tests")
    assert done(boss, "deploy", "shop/staging", "--wait")["commit"] == second
    assert "Sell hats" in boss.run("notes", "staging").out
    assert done(boss, "rollback", "staging")["commit"] == first
    assert first[:8] in boss.run("status", "staging").out
    everything = boss.run("status")
    assert everything.code == 0
    assert "shop/staging" in everything.out
    assert boss.run("environments").out.count("shop/") == 4
    words = ("upgrade", "sqlparse==0.6.1", "--environment", "staging")
    planned = boss.run(*words, "--dry-run", "--json")
    assert (planned.code, summary(planned)["state"]) == (0, "planned")
    moves = [move for each in planned.events if each["event"] == "plan" for move in each["moves"]]
    assert [(move["name"], move["after"]) for move in moves] == [("sqlparse", "0.6.1")]
    upgraded = done(boss, *words)
    assert upgraded["environments"] == {"shop/staging": "succeeded"}
    assert f"#{upgraded['upgrade']}" in boss.run("upgrades").out


def test_somebody_else_approves(as_: Callable[[str], Client]) -> None:
    boss, ann = as_("boss"), as_("ann")

    def ask() -> str:
        asked = done(boss, "deploy", "guarded", "--no-wait")
        assert asked["state"] == "waiting"
        return str(asked["deployment"])

    number = ask()
    listed = [each for each in ann.run("approve", "--json").events if each["event"] == "approval"]
    assert [str(each["number"]) for each in listed] == [number]
    own = boss.run("approve", number, "--json")
    assert (own.code, summary(own)["state"]) == (2, "refused")
    assert done(ann, "deny", number, "--reason", "Not today")["state"] == "cancelled"
    number = ask()
    assert done(ann, "approve", number, "--reason", "Reviewed")["given"] == ["ann"]
    assert done(boss, "watch", number)["state"] == "succeeded"
    number = ask()
    assert done(boss, "break-glass", number, "--reason", "It burns")["state"] != "waiting"
    boss.run("cancel", number)


def test_packages_are_looked_up_and_upgraded(boss: Client) -> None:
    assert done(boss, "who-runs", "django<1")["found"] == 0
    told = boss.run("advisories", "lab", "--json")
    assert told.code in (0, 2)  # 2: of a server that was never asked
