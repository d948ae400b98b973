"""What rows, files and servers say does nothing to an operator's terminal; who asks is known."""

import io
import json
import os
import pwd
import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import Warning as Hint
from django.core.management import CommandError, call_command
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy_manager import checks
from deploy_manager.cli.console import make_console
from deploy_manager.cli.fab.tasks import make_namespace
from deploy_manager.cli.views.json_lines import JsonLines
from deploy_manager.models import Deployment, Environment, Freeze, Project
from deploy_manager.requester import requester_name
from tests.inventory import Inventory

HOSTILE = [
    "\x1b[2J\x1b[H",
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1bPq\x1b\\",
    "\x1b",
    "\x9b2J",
    "\x9d0;title\x9c",
    "\x07",
    "\x08\x08\x08",
    "\x0b\x0c",
    "\r hidden",
    "\x7f",
    "\u202egnp.exe",
    "\u2066\u2069",
]
FORBIDDEN = {
    *map(chr, {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)})
} - {"\n", "\t"}


def forbidden_in(printed: str) -> set[str]:
    return FORBIDDEN & set(printed)


def on_console(text: object, **options: Any) -> str:
    out = io.StringIO()
    make_console(out, no_color=True).print(text, **options)
    return out.getvalue()


def as_cell(text: str) -> Table:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    return table


MAKES: list[Callable[[str], object]] = [str, Text, as_cell, lambda text: Text.assemble("a", text)]


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_console_prints_no_control_that_came_from_elsewhere(
    text: str, make: Callable[[str], object]
) -> None:
    printed = on_console(make(f"before {text} after"))
    assert not forbidden_in(printed)
    assert "before" in printed
    assert "after" in printed


def test_and_keeps_its_own_colours_and_lines() -> None:
    out = io.StringIO()
    make_console(out, force_color=True).print(Text("a\tb\n日本 é", "red"))
    assert "\x1b[31m" in out.getvalue()
    assert "日本 é" in out.getvalue()


def test_a_table_that_stays_below_still_moves_the_cursor() -> None:
    out = io.StringIO()
    console = make_console(out, force_color=True)
    with Live(as_cell("\x1b]0;title\x07"), console=console, auto_refresh=False) as live:
        live.update(as_cell("\x1b]0;title\x07"), refresh=True)
    assert "\x1b[1A" in out.getvalue()
    assert "\x1b]" not in out.getvalue()
    assert "\x07" not in out.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_json_lines_escape_them(text: str) -> None:
    out = io.StringIO()
    JsonLines(make_console(out)).write("note", text=text)
    assert not forbidden_in(out.getvalue())
    assert json.loads(out.getvalue())["text"] == text


EVIL = "".join(HOSTILE)


@pytest.fixture
def evil_rows(inventory: Inventory) -> Environment:
    """An environment whose words were written around forms."""
    Project.objects.update(name=f"shop{EVIL}"[:50])
    Environment.objects.update(ref=f"main{EVIL}")
    inventory.environment.freeze(f"Because {EVIL}", f"boss{EVIL}")
    inventory.request("ping")
    Deployment.objects.update(
        requested_by_name=f"me{EVIL}", reason=EVIL, message=f"Failed {EVIL}", recipe="ping"
    )
    return Environment.objects.select_related("project").get()


COMMANDS: list[tuple[str, ...]] = [
    ("deploy", "production"),
    ("deploy", "production", "--dry-run"),
    ("freeze", "production", "--reason", f"Why {EVIL}"),
    ("thaw", "production"),
    ("cancel", "production", "--no-wait"),
    ("cancel", f"nobody{EVIL}"),
    ("releases", "production"),
    ("rollback", "production", "--to", EVIL),
    ("recipe", "production", "ping", "--no-wait"),
    ("recipe", "production", f"no{EVIL}"),
    ("retry", "production", "--no-wait"),
    ("inventory", "production"),
    ("export_requirements", "production"),
    ("deploy", f"nowhere{EVIL}"),
    ("upgrade", "production"),
    ("policies",),
    ("audit",),
]


@pytest.mark.django_db
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words)[:30])
def test_no_command_prints_what_a_row_would_do_to_a_terminal(
    evil_rows: Environment, command: tuple[str, ...]
) -> None:
    out, errors = io.StringIO(), io.StringIO()
    try:
        call_command(*command, stdout=out, stderr=errors, no_color=True)
    except CommandError as error:
        errors.write(str(error))
    except SystemExit:
        pass
    printed = out.getvalue() + errors.getvalue()
    assert not forbidden_in(printed)


@pytest.mark.django_db
def test_nor_does_fab(evil_rows: Environment) -> None:
    Environment.objects.update(name="prod\x1b[2J")
    tasks = make_namespace().tasks
    assert not forbidden_in("".join(f"{name}{task.__doc__}" for name, task in tasks.items()))


def test_nor_does_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = checks.register("nothing")(lambda **kwargs: [Hint(EVIL, hint=EVIL)])
    (message,) = registered()
    assert not forbidden_in(f"{message.msg}{message.hint}")


ACCOUNT = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
NOBODY_SAYS = dict.fromkeys(("SUDO_USER", "LOGNAME", "USER", "LNAME", "USERNAME"), "")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, ""),
        ({"LOGNAME": "boss"}, " (says boss)"),
        ({"USER": "boss"}, " (says boss)"),
        ({"SUDO_USER": "alice", "LOGNAME": ACCOUNT.partition("@")[0]}, " (says alice)"),
        ({"LOGNAME": "x\x1b[2J) root"}, " (says x??2J??root)"),
        ({"LOGNAME": "x" * 500}, f" (says {'x' * 64})"),
    ],
)
def test_the_requester_is_the_account_and_beside_it_the_name_it_claims(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], shown: str
) -> None:
    for name, value in {**NOBODY_SAYS, **said}.items():
        monkeypatch.setenv(name, value)
    assert requester_name() == f"{ACCOUNT}{shown}"


@pytest.mark.django_db
def test_a_freeze_and_a_deployment_tell_it(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "")
    monkeypatch.setenv("LOGNAME", "boss")
    call_command("recipe", "production", "ping", "--no-wait", stdout=io.StringIO())
    assert Deployment.objects.get().requested_by_name == f"{ACCOUNT} (says boss)"
    call_command("cancel", "production", "--no-wait", stdout=io.StringIO())
    assert Deployment.objects.get().cancel_requested_by_name == f"{ACCOUNT} (says boss)"
    call_command("freeze", "production", "--reason", "Sale", stdout=io.StringIO())
    assert Freeze.objects.get().frozen_by_name == f"{ACCOUNT} (says boss)"
