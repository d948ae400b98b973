"""The command on a machine without Django, against a live manager over TLS."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.parts.authority import Authority
from tests.parts.client import Client, Ended, build_wheel, install_client, lowest
from tests.parts.manager import Manager, write_manager
from tests.parts.matrices import few
from tests.parts.own_project import Terminal
from tests.parts.pythons import oldest_and_newest_first, pythons
from tests.parts.repository import Repository

CTRL_C = "\x03"
QUESTION = "Leave it running"
PINS = "asgiref==3.13.0\ndjango==5.2.19\nsqlparse==0.6.1\n"
SITE = {
    "requirements.txt": PINS,
    "manage.py": """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop_settings")
execute_from_command_line(sys.argv)
""",
    "shop_settings.py": 'import os\nSECRET_KEY = os.environ["SECRET_KEY"]\nINSTALLED_APPS = []\n',
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A site that is quick to deploy."""
    made = Repository.make(tmp_path_factory.mktemp("code") / "shop")
    made.commit("Open the shop", SITE)
    return made


@pytest.fixture(scope="module")
def manager(
    tmp_path_factory: pytest.TempPathFactory, shop: Repository, authority: Authority
) -> Iterator[Manager]:
    made = write_manager(tmp_path_factory.mktemp("manager") / "project", shop, authority)
    with made.work(), made.serve():
        yield made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=few(*oldest_and_newest_first(), first=2))
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, wheel: Path
) -> Path:
    """The command: for the oldest Python with the oldest libraries."""
    folder = tmp_path_factory.mktemp("client") / "venv"
    words = lowest() if request.param == min(pythons()) else []
    return install_client(folder, pythons()[request.param], wheel, *words)


@pytest.fixture
def as_(program: Path, manager: Manager, tmp_path: Path) -> Callable[[str], Client]:
    """The command, asking by a token."""

    def client(name: str) -> Client:
        variables = {
            "DEPLOY_MANAGER_URL": manager.url,
            "DEPLOY_MANAGER_TOKEN": manager.tokens.get(name, name),
            "SSL_CERT_FILE": str(manager.authority.bundle),
        }
        return Client(program, tmp_path, variables)

    return client


@pytest.fixture
def boss(as_: Callable[[str], Client]) -> Client:
    return as_("boss")


def test_there_is_no_django_where_it_is_installed(program: Path) -> None:
    python = program.with_name("python")
    lines = "import deploy_manager.client.main, sys; print(*sys.modules); import django"
    done = subprocess.run([python, "-c", lines], capture_output=True, text=True, check=False)
    assert "No module named 'django'" in done.stderr
    ours = {name for name in done.stdout.split() if name.startswith("deploy_manager")}
    assert all(name.startswith("deploy_manager.client") for name in ours - {"deploy_manager"})


def summary(ended: Ended) -> dict[str, object]:
    """Return the last thing that a program was told, which is always a summary."""
    assert "Traceback" not in ended.err
    last = ended.events[-1]
    assert last.pop("event") == "summary"
    return last


def test_a_person_logs_in_on_a_terminal(
    as_: Callable[[str], Client], manager: Manager, tmp_path: Path
) -> None:
    client = as_("boss")
    stranger = Client(client.program, tmp_path, {"HOME": str(tmp_path)})
    terminal = stranger.open_terminal("login", "--ca-file", str(manager.authority.bundle))
    terminal.read_until("Address of the manager")
    terminal.type(f"{manager.url}\n")
    terminal.read_until("Token: ")
    terminal.type(f"{manager.tokens['boss']}\n")
    assert terminal.wait() == 0
    assert "Logged in" in terminal.seen
    assert manager.tokens["boss"] not in terminal.seen  # it is not shown while it is typed
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
        ("deploy", "shop/nowhere"),
        ("recipe", "lab", "nothing"),
        ("rollback", "lab"),
        ("cancel", "lab"),
        ("deploy", "lab", "--ref", "nothing"),
        ("deploy", "lab", "--server", "nobody"),
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
def lingering(boss: Client, manager: Manager) -> Iterator[Path]:
    """The file that lets `linger` end; both servers' are made afterwards."""
    gates = [manager.sites / "lab" / name / "go" for name in ("one", "two")]
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
    terminal.type("\n")  # watch on
    terminal.seen = ""
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
