"""What the command does with answers that no manager gives on purpose, and with its own files."""

import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.api.main import make_api
from deploy_manager.client import config, connection
from deploy_manager.client.commands import COMMANDS
from deploy_manager.client.exits import Refused
from deploy_manager.client.main import main
from tests.parts.processes import free_port

ME = {"user": "boss", "token": "laptop", "scopes": ["view"], "environments": None}
TOKEN = "dm_of-nobody"


@dataclass
class Answer:
    status: int = 200
    told: Any = field(default_factory=lambda: dict(ME))
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Between:
    """What stands at a manager's address: it gives these answers in turn, the last one for ever."""

    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/deploy/"

    def next(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def between() -> Iterator[Between]:
    made = Between()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(size)
            made.asked.append(Asked(self.command, self.path, dict(self.headers)))
            answer = made.next()
            told = answer.told
            text = told.encode() if isinstance(told, str) else json.dumps(told).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: Between) -> Path:
    """A home of its own, and variables that name what stands between."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("DEPLOY_MANAGER_URL", between.url)
    monkeypatch.setenv("DEPLOY_MANAGER_TOKEN", TOKEN)
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.01)
    return tmp_path


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def problem(status: int, detail: str, code: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"status": status, "detail": detail, "code": code}, named)


def test_the_token_is_sent_as_a_bearer_s_whatever_a_netrc_says(
    between: Between, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    code, out, _err = run("me")
    assert code == 0
    assert "boss" in out
    assert between.asked[0].path == "/deploy/api/v1/me"
    assert between.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (problem(401, "Send a token"), 2, "does not accept this token"),
        (problem(403, "This needs the right view", "forbidden"), 2, "This needs the right view"),
        (problem(404, "There is nothing here that you may see.", "not_found"), 2, "nothing here"),
        (problem(409, "It is frozen.", "frozen"), 2, "It is frozen."),
        (problem(422, "ref: too long", "invalid_input"), 2, "ref: too long"),
        (problem(500, "Something went wrong here", "unexpected_error"), 1, "went wrong"),
        (Answer(404, "<h1>Not Found</h1>"), 2, "is not deploy_manager's API"),
        (Answer(200, "<h1>Welcome</h1>"), 2, "is not deploy_manager's API"),
        (Answer(500, "<h1>Oops</h1>"), 1, "answers 500"),
    ],
)
def test_each_refusal_ends_it_with_the_reason(
    between: Between, run: Run, answer: Answer, code: int, words: str
) -> None:
    between.answers = [answer]
    ended, out, err = run("me", "--json")
    assert (ended, len(between.asked)) == (code, 1)
    assert words in err
    assert "Traceback" not in err
    summary = json.loads(out)
    assert summary["state"] == ("refused" if code == 2 else "failed")
    assert words in summary["message"]
    if isinstance(answer.told, dict) and answer.told["code"]:
        assert summary["reason"] == [answer.told["code"]]


def test_a_redirect_is_told_and_not_followed(between: Between, run: Run) -> None:
    between.answers = [Answer(301, "", {"Location": "http://127.0.0.2/deploy/api/v1/me"})]
    code, _out, err = run("me")
    assert (code, len(between.asked)) == (2, 1)
    assert "leads to http://127.0.0.2/deploy/api/v1/me: use that address" in err


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_manager_that_is_away_is_asked_again_with_the_same_key(
    between: Between, run: Run, status: int
) -> None:
    away = problem(status, "Later")
    planned = Answer(201, {"state": "success"})
    between.answers = [away, away, planned]
    assert run("report", "shop", "a" * 40, "success")[0] == 0
    assert len({asked.headers["Idempotency-Key"] for asked in between.asked}) == 1
    assert [asked.method for asked in between.asked] == ["POST"] * 3


def test_each_request_has_a_key_of_its_own(between: Between, run: Run) -> None:
    for _ in range(2):
        run("report", "shop", "a" * 40, "success")
    assert len({asked.headers["Idempotency-Key"] for asked in between.asked}) == 2


def test_as_long_as_the_manager_says_it_waits(between: Between, run: Run) -> None:
    between.answers = [problem(429, "Too many requests", Retry_After="1"), Answer()]
    began = time.monotonic()
    assert run("me")[0] == 0
    assert 1 <= time.monotonic() - began < 10
    assert len(between.asked) == 2


def test_it_does_not_wait_for_ever(between: Between, run: Run) -> None:
    between.answers = [problem(429, "Too many requests", Retry_After="3600")]
    code, _out, err = run("me")
    assert (code, err) == (1, "Too many requests\n")


def test_who_is_not_there_is_told_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.1)
    monkeypatch.setenv("DEPLOY_MANAGER_URL", f"http://127.0.0.1:{free_port()}/")
    code, _out, err = run("me")
    assert code == 1
    assert "does not answer: Connection refused" in err


def test_a_port_without_tls_is_told(
    between: Between, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_MANAGER_URL", between.url.replace("http", "https"))
    code, _out, err = run("me")
    assert code == 2
    assert "There is no TLS at" in err


def test_what_a_manager_says_can_t_drive_a_terminal(between: Between, run: Run) -> None:
    between.answers = [problem(409, "\x1b]0;owned\x07no\x1b[2J \x9b31m way", "frozen")]
    _code, _out, err = run("me")
    assert err.startswith("no")
    assert not {"\x1b", "\x07", "\x9b"} & set(err)
    between.answers = [Answer(200, {**ME, "user": "bo\x1b[2Jss\x7f"})]
    _code, out, _err = run("me")
    assert "\x1b" not in out
    assert "\x7f" not in out
    _code, out, _err = run("me", "--json")
    assert not {"\x1b", "\x7f"} & set(out)


@pytest.mark.parametrize("token", ["dm_ab\ncd", "dm_ab\u20accd", "dm_ab cd", "dm_ab\x1b[31mcd"])
def test_what_can_be_no_token_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    between: Between,
    token: str,
) -> None:
    monkeypatch.setenv("DEPLOY_MANAGER_TOKEN", token)
    assert main(["me"]) == 2
    told = capsys.readouterr()
    assert "That is no token" in told.err
    assert "dm_ab" not in told.out + told.err
    assert not between.asked
    assert token not in repr(config.Manager(between.url, token))


@pytest.mark.parametrize("url", ["http://192.0.2.1/deploy/", "http://manager.example.org/"])
def test_a_token_goes_nowhere_unencrypted(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DEPLOY_MANAGER_URL", url)
    code, _out, err = run("me")
    assert code == 2
    assert "is not encrypted" in err


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("https://manager.example.org/deploy", "https://manager.example.org/deploy/"),
        (" https://manager.example.org ", "https://manager.example.org/"),
        ("https://manager.example.org:8443/a/?b#c", "https://manager.example.org:8443/a/"),
        ("http://[::1]:8000/deploy/", "http://[::1]:8000/deploy/"),
    ],
)
def test_an_address_may_be_typed_in_several_ways(typed: str, url: str) -> None:
    assert config.read_url(typed) == url


@pytest.mark.parametrize(
    "typed",
    ["", "manager.example.org", "ftp://x/", "https://", "https://x:port/", "https://a:b@x/"],
)
def test_what_is_no_address_is_refused(typed: str) -> None:
    with pytest.raises(Refused):
        config.read_url(typed)


def log_in(between: Between, run: Run, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    for name in (config.URL, config.TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{TOKEN}\n"))
    return run("login", between.url, "--token-stdin", *words)[0]


def test_a_login_is_tried_then_kept_for_this_account_alone(
    between: Between, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log_in(between, run, monkeypatch) == 0
    file = home / "deploy-manager" / "config.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert config.read_managers() == {"default": config.Manager(between.url, TOKEN)}
    assert run("me")[0] == 0
    assert run("logout")[0] == 0
    code, _out, err = run("me")
    assert code == 2
    assert "Log in first" in err


def test_a_login_that_is_refused_is_not_kept(
    between: Between, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    between.answers = [problem(401, "Send a token")]
    assert log_in(between, run, monkeypatch) == 2
    assert not (home / "deploy-manager").exists()


def test_several_managers_have_names(
    between: Between, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log_in(between, run, monkeypatch, "--manager", "shop") == 0
    assert run("me", "--manager", "shop")[0] == 0
    code, _out, err = run("me")
    assert code == 2
    code, _out, err = run("me", "--manager", "blog")
    assert code == 2
    assert "There is no manager 'blog' here, but: shop" in err


def test_a_file_that_others_may_read_is_refused(
    between: Between, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log_in(between, run, monkeypatch) == 0
    file = home / "deploy-manager" / "config.toml"
    file.chmod(0o644)
    code, _out, err = run("me")
    assert code == 2
    assert f"chmod 600 {file}" in err


@pytest.mark.parametrize("text", ["[managers", "managers = 1", "[managers.default]\nurls = 1"])
def test_a_damaged_file_is_told(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.delenv(config.URL)
    file = home / "deploy-manager" / "config.toml"
    file.parent.mkdir()
    file.write_text(text)
    file.chmod(0o600)
    code, _out, err = run("me")
    assert code == 2
    assert "can't be understood" in err


def test_a_variable_alone_is_not_enough(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.TOKEN)
    code, _out, err = run("me")
    assert code == 2
    assert "set both" in err


def test_what_is_typed_stays_in_its_place_of_the_address(between: Between, run: Run) -> None:
    between.answers = [Answer(200, [])]
    assert run("status", "shop/a?x=1#")[0] == 1
    assert between.asked[0].path == "/deploy/api/v1/environments/shop/a%3Fx%3D1%23"
    for name in ("shop/..", "../admin", "shop/../../admin"):
        assert run("status", name)[0] == 2
    assert {asked.path for asked in between.asked[1:]} == {"/deploy/api/v1/environments"}


def test_the_client_asks_for_no_address_that_the_manager_lacks() -> None:
    paths = make_api().get_openapi_schema(path_prefix="/")["paths"]
    known = {path.split("/")[1] for path in paths}
    asks = r"(?:connection|connect\(given\)|Connection\(manager\))\.\w+\(\s*\"([a-z]+)\""
    asked = {
        name
        for file in Path(connection.__file__).parent.rglob("*.py")
        for name in re.findall(asks, file.read_text())
    }
    assert {"deployments", "environments", "health", "me", "plans", "statuses"} <= asked
    assert asked <= known


def test_a_hash_that_is_not_whole_is_asked_for(between: Between, run: Run) -> None:
    code, _out, err = run("report", "shop", "276cfa48", "success")
    assert code == 2
    assert "git rev-parse 276cfa48" in err
    assert not between.asked


def test_the_page_names_every_command_and_no_other() -> None:
    page = (Path(__file__).parent.parent / "docs/client.md").read_text()
    table = page.partition("## Commands")[2].partition("An environment is")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)[ `]", row)}
    session = {"login", "logout", "me"}
    assert named | session == {command.name for command in COMMANDS}
    assert all(f"deploy-manager {name}" in page for name in session)


def test_why_it_waits_is_told_once(between: Between, run: Run) -> None:
    def page(*told: dict[str, Any], cursor: int, live: bool = True) -> Answer:
        return Answer(200, {"events": [*told], "cursor": cursor, "more": False, "live": live})

    waits = {"event": "waiting", "deployment": 7, "message": "It is frozen."}
    ends = {"event": "summary", "deployment": 7, "state": "succeeded"}
    between.answers = [
        page(waits, cursor=1),
        page(waits, cursor=2),
        page({**waits, "message": "It waits for approval."}, cursor=3),
        page(ends, cursor=4, live=False),
    ]
    code, out, _err = run("watch", "7", "--json")
    assert code == 0
    told = [json.loads(line).get("message") for line in out.splitlines()]
    assert told == ["It is frozen.", "It waits for approval.", None]
    assert [asked.path.rpartition("=")[2] for asked in between.asked] == ["-1", "1", "2", "3"]


def test_an_answer_of_another_version_is_told(between: Between, run: Run) -> None:
    between.answers = [Answer(200, {"some": "thing"})]
    code, _out, err = run("deployments")
    assert code == 1
    assert "can't be understood" in err
