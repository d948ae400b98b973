"""Hostile text does nothing to a terminal: not that of a row, not that of an argument."""

import argparse
import io
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules

import pytest
from django.core.management import BaseCommand, CommandError, load_command_class
from django.db import transaction

from deploy_manager.management import commands as our_commands
from deploy_manager.models import Environment
from tests.parts.hostile import make_rows
from tests.parts.injection import CANARY, VALUES
from tests.parts.matrices import few
from tests.parts.own_project import OwnProject
from tests.test_command_hostile_rows import commands
from tests.test_hostile_pages import TURNS, spoil

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ORDERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What makes a terminal do something, or a text read otherwise than it is."""

SENT = VALUES[::19]

EXPORTS = [
    *(["export_servers", "--format", form] for form in ("json", "ansible", "csv", "ssh_config")),
    *(["audit_log", "--format", form] for form in ("csv", "jsonl")),
    ["ansible_inventory", "--list"],
    ["schedules"],
    ["retention"],
]


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has made the canary, whatever the test did; files are written below a folder."""
    below = tmp_path / "a/b/c"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    yield
    assert not Path(CANARY).exists()


def type_in(*words: str) -> int:
    """Run a command as a terminal would, and print what it would print; return its exit code."""
    command = load_command_class("deploy_manager", words[0])
    command._called_from_command_line = True  # type: ignore[attr-defined]
    try:
        options = vars(command.create_parser("manage.py", words[0]).parse_args(list(words[1:])))
        command.execute(*options.pop("args", ()), **options)
    except CommandError as error:  # as BaseCommand.run_from_argv ends
        command.stderr.write(f"{type(error).__name__}: {error}")
        return error.returncode
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def orders_in(printed: str) -> list[str]:
    left = COLOUR.sub("", printed)
    return [left[max(0, at.start() - 60) : at.end() + 20] for at in ORDERS.finditer(left)]


@pytest.mark.django_db
@pytest.mark.parametrize("turn", TURNS)
def test_hostile_text_of_any_row_gives_a_terminal_no_orders(
    turn: int, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = make_rows()
    spoil(turn)
    # By these the commands find them.
    Environment.objects.update(name="production")
    type(environment.project).objects.update(name="shop")
    wrong, shown = [], 0
    for words in [*commands("shop/production"), *EXPORTS]:
        with transaction.atomic():
            type_in(*words, *([] if words[-1] == "--json" else ["--force-color"]))
            transaction.set_rollback(True)
        printed = capsys.readouterr()
        shown += CANARY in printed.out
        wrong += [f"{words}: {each!r}" for each in orders_in(printed.out + printed.err)]
        if words[-1] == "--json":
            lines = [json.loads(line) for line in printed.out.splitlines()]
            assert lines, (words, printed.err)
    assert not wrong
    assert shown > 8


SOUND = {
    "deployment": "1", "environment": "shop/production", "file": "servers.csv", "name": "ping",
    "number": "1", "packages": "unknown-kit==1.0", "path": "keys", "server": "one",
    "servers": "one", "upgrade": "1", "words": "check",
}  # fmt: skip
OF_ONE = {("policies", "name"): "nightly", ("secret", "name"): "API_KEY"}
QUIETLY = ("--no-wait", "--dry-run", "--print", "--preview")
"""What is there of these is added: nobody waits for a worker that does not run."""


def arguments_of(command: BaseCommand) -> list[argparse.Action]:
    """Return what of a command line is text, except what Django's own commands have as well."""
    own = BaseCommand().create_parser("manage.py", "x")._option_string_actions
    parser = command.create_parser("manage.py", "x")
    return [
        action
        for action in parser._actions
        if action.nargs != 0 and not set(action.option_strings) & own.keys()
    ]


def lines_of(name: str, value: str) -> Iterator[list[str]]:
    """Yield command lines of a command with a hostile value in each place of it in turn."""
    command = load_command_class("deploy_manager", name)
    known = arguments_of(command)
    flags = command.create_parser("manage.py", name)._option_string_actions
    quietly = [flag for flag in QUIETLY if flag in flags]
    if "--dry-run" in quietly and name != "import_requirements":
        quietly = [flag for flag in quietly if flag != "--no-wait" or name == "upgrade"]
    for spoilt in known:
        named = [
            f"{action.option_strings[-1]}={value}"
            for action in known
            if action is spoilt and action.option_strings
        ]
        placed = [
            value if action is spoilt else OF_ONE.get((name, action.dest), SOUND[action.dest])
            for action in known
            if not action.option_strings
        ]
        yield [name, *named, *quietly, "--", *placed] if placed else [name, *named, *quietly]


NAMES = sorted(module.name for module in iter_modules(our_commands.__path__))


@pytest.mark.django_db
@pytest.mark.parametrize("part", few(*range(len(SENT))))
def test_hostile_arguments_are_refused_in_words_or_taken_as_they_are(
    part: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rows()
    Path("servers.csv").write_text("name,address,user\nweb7,192.0.2.7,deploy\n")
    wrong, tried = [], 0
    for number, name in enumerate(NAMES):
        value = VALUES[(part * 19 + number * 11) % len(VALUES)].replace("\0", "")
        for words in lines_of(name, value):
            tried += 1
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"not known\n")))
            try:
                with transaction.atomic():
                    type_in(*words)
                    transaction.set_rollback(True)
            except Exception as error:
                wrong.append(f"{words}: {error!r}")
            printed = capsys.readouterr()
            wrong += [f"{words}: {each!r}" for each in orders_in(printed.out + printed.err)]
    assert not wrong
    assert tried > 120


@dataclass(frozen=True)
class FabLine:
    """A command line of fab with hostile words, and whether a task of it may run."""

    words: tuple[str, ...]
    code: int


def fab_lines(values: Sequence[str]) -> Iterator[FabLine]:
    first, second, third, fourth = values
    yield FabLine(("production", "greet_all", f"--reason={first}"), 0)
    yield FabLine(("production", "greet_all", f"--server={second}"), 2)
    yield FabLine(("production", "checkout_latest", f"--ref={third}", "--dry-run"), 2)
    yield FabLine(("production", "manage_site", f"--command={fourth}", "--dry-run"), 2)
    yield FabLine(("production", "rollback", f"--to={first}", f"--force-migration={second}"), 2)
    yield FabLine(("production", "retry", f"--deployment={third}", f"--reason={fourth}"), 2)
    yield FabLine(("production", "upgrade", f"--package={first}", f"--soak={second}"), 2)
    yield FabLine((third, "greet_all"), 2)


TYPED = [value for value in VALUES if "\0" not in value and "\ud800" not in value]


@pytest.mark.parametrize("part", few(*range(12)))
def test_hostile_words_of_fab_are_refused_or_taken_as_they_are(
    own_project: OwnProject, part: int
) -> None:
    lines = list(fab_lines([TYPED[(part * 37 + number * 101) % len(TYPED)] for number in range(4)]))
    # Each starts a process: two of them each time, all with --long.
    for line in lines if part else lines[:2]:
        code, printed = own_project.run("fab", *line.words)
        assert "Traceback" not in printed
        assert not orders_in(printed), line
        assert code == line.code or (line.code and code), (line, printed)


def test_fab_lists_what_is_written_around_forms_without_orders(own_project: OwnProject) -> None:
    with closing(sqlite3.connect(own_project.folder / "db.sqlite3")) as database, database:
        names = "UPDATE deploy_manager_environment SET name = ? || id"
        database.execute(names, [f"\x1b]0;x\x07\x9b2J$(touch {CANARY})"])
    code, printed = own_project.run("fab", "--list")
    assert code == 0, printed
    assert not orders_in(printed)
