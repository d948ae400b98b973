"""A guard starts quickly: little is imported, and its code is compiled once; only ours is run."""

import json
import marshal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from deploy_manager.hosts import guard_line
from deploy_manager.hosts.guard_line import MODULES, guard_archive
from deploy_manager.hosts.remote.guard.lean import dumps, loads
from tests.parts.guards import Place

FOLDER = Path(guard_line.__file__).parent / "remote" / "guard"
SLOW = {"contextlib", "enum", "json", "re", "socket", "subprocess", "threading", "typing"}


def code_of(place: Place) -> Path:
    return next(place.guarded.glob("guard-*.code"))


def test_all_of_its_modules_are_sent() -> None:
    assert sorted(MODULES) == sorted(path.stem for path in FOLDER.glob("*.py"))


def test_what_is_slow_to_import_is_not() -> None:
    program = f"import sys; sys.path[:0] = [{str(FOLDER.parent)!r}]; import guard.relay"
    words = [sys.executable, "-I", "-S", "-B", "-c", f"{program}; print(*sys.modules)"]
    shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert not SLOW & set(shown.split())


@pytest.mark.parametrize(
    "value",
    [{}, [], None, True, 1.5, -3, 'é\n"\U0001f600', {"a": [1, {"b": None}], "c": "x" * 5000}],
    ids=lambda value: type(value).__name__,
)
def test_json_is_written_and_read_as_by_the_library(value: object) -> None:
    assert dumps(value) == json.dumps(value)
    assert loads(dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["", "{", "nothing", "{} {}", '{"a": }', '"\n"'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_its_code_is_compiled_once(place: Place) -> None:
    place.open().host.close()
    before = code_of(place).stat()
    place.open(token=2).host.close()
    assert code_of(place).stat().st_ino == before.st_ino
    assert (before.st_mode & 0o777, before.st_nlink) == (0o600, 1)


def with_evil(made_of: bytes) -> bytes:
    code = marshal.dumps([("guard", compile("import os; os._exit(9)", "x", "exec"))])
    return sha256(made_of + code).digest() + code


def _damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _of_another_version(path: Path) -> None:
    path.write_bytes(with_evil(b"another guard, or another Python"))


def _writable_by_others(path: Path) -> None:
    path.write_bytes(forged(path))
    path.chmod(0o622)


def _linked(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(forged(path))
    other.chmod(0o600)
    path.unlink()
    path.symlink_to(other)


def _in_a_folder_open_to_others(path: Path) -> None:
    path.write_bytes(forged(path))
    path.parent.chmod(0o777)


def forged(path: Path) -> bytes:
    """What would be run if it were trusted: as somebody writes it who knows how it is made."""
    python = subprocess.run(
        ["python3", "-I", "-c", "import sys; print(sys.version, end='')"],
        check=True,
        capture_output=True,
    ).stdout
    digest = sha256(guard_archive()[0]).hexdigest().encode()
    return with_evil(digest + b" " + python + b"\n")


OPEN = _in_a_folder_open_to_others
CHANGES = [_damaged, _empty, _of_another_version, _writable_by_others, _linked, OPEN]


@pytest.mark.parametrize("change", CHANGES)
def test_code_that_others_may_have_written_is_compiled_anew(
    here: Place, change: Callable[[Path], None]
) -> None:
    here.open().host.close()
    path = code_of(here)
    right = path.read_bytes()
    change(path)
    held = here.open(token=2)
    assert held.host.run("echo well").stdout == "well\n"
    assert code_of(here).read_bytes() == right
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600


def test_code_that_was_put_there_before_the_guard_is_not_kept(here: Place) -> None:
    here.open().host.close()
    path = code_of(here)
    guard = next(here.guarded.glob("guard-*.py"))
    _in_a_folder_open_to_others(path)
    guard.write_text("another")  # the first start refuses it, and makes the folder private
    assert here.open(token=2).host.run("echo well").stdout == "well\n"


def test_commands_end_as_their_sh_did(here: Place) -> None:
    host = here.open().host
    assert [host.run(f"exit {code}", check=False).exit_code for code in (0, 7)] == [0, 7]
    # Python ignores SIGPIPE, and a command would inherit that.
    piped = host.run("kill -s PIPE $$; echo still here", check=False)
    assert (piped.exit_code, piped.stdout) == (141, "")
