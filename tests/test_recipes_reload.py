"""A reload tells whatever serves the site, in the words that it understands."""

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.hosts.address import Stream
from deploy_manager.models import Environment
from deploy_manager.recipes import Reload
from deploy_manager.recipes.serving import METHODS, reload
from tests.parts.served import Served

LONG_AGO = 1_000_000_000


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in which stand-ins for systemctl, supervisorctl, sudo and id write their words."""
    folder, told = tmp_path / "bin", tmp_path / "told"
    folder.mkdir()
    for name in ("systemctl", "supervisorctl", "sudo"):
        _program(folder / name, f'echo "{name} $* in $XDG_RUNTIME_DIR" >> {told}')
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return told


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _reload(served: Served, method: str, target: str = "") -> None:
    served.reload = Reload(method, target)
    reload(served.host, served.site)


def test_the_wsgi_file_of_the_current_release_is_touched(served: Served) -> None:
    served.folder = "src"
    release = served.release("one")
    file = release / "src" / "site_wsgi.py"
    os.utime(file, (LONG_AGO, LONG_AGO))

    _reload(served, "touch", "site_wsgi.py")

    assert file.stat().st_mtime > LONG_AGO


def test_a_wsgi_file_that_is_not_there_is_not_made(served: Served) -> None:
    release = served.release("one")

    with pytest.raises(RecipeError, match=r"There is no WSGI file .*/current/wsgi.py to touch"):
        _reload(served, "touch", "wsgi.py")

    assert not (release / "wsgi.py").exists()


def test_every_choice_of_the_form_is_a_way_to_reload() -> None:
    assert set(METHODS) == set(Environment.ReloadMethod.values)


def test_passenger_restarts_by_a_file_of_the_current_release_and_has_time_to_look(
    served: Served, told: Path
) -> None:
    served.folder = "src"
    file = served.release("one") / "src" / "tmp" / "restart.txt"
    _program(told.parent / "bin" / "sleep", f'test -f {file} && echo "sleep $*" >> {told}')

    _reload(served, "passenger")

    assert told.read_text() == "sleep 11\n"


def test_passenger_restarts_once_more(served: Served, told: Path) -> None:
    file = served.release("one") / "tmp" / "restart.txt"
    _program(told.parent / "bin" / "sleep", "true")
    _reload(served, "passenger")
    os.utime(file, (LONG_AGO, LONG_AGO))

    _reload(served, "passenger")

    assert file.stat().st_mtime > LONG_AGO


def test_passenger_is_not_restarted_before_a_first_release(served: Served) -> None:
    with pytest.raises(CommandFailed):
        _reload(served, "passenger")

    assert not (served.path / "current").exists()


def test_root_reloads_a_unit_without_sudo(served: Served, told: Path) -> None:
    _program(told.parent / "bin" / "id", "echo 0")

    _reload(served, "systemd", "shop.service")

    assert told.read_text() == "systemctl reload-or-restart shop.service in \n"


def test_others_reload_a_unit_by_sudo_that_never_asks(served: Served, told: Path) -> None:
    _program(told.parent / "bin" / "id", "echo 1000")

    _reload(served, "systemd", "shop.service")

    assert told.read_text() == "sudo -n systemctl reload-or-restart shop.service in \n"


def test_a_unit_of_the_account_is_found_by_its_runtime_folder(served: Served, told: Path) -> None:
    _reload(served, "systemd-user", "shop@1.service")

    folder = f"/run/user/{os.getuid()}"
    assert told.read_text() == f"systemctl --user reload-or-restart shop@1.service in {folder}\n"


def test_a_program_of_supervisor_is_restarted(served: Served, told: Path) -> None:
    _reload(served, "supervisor", "shop; echo oops")

    assert told.read_text() == "supervisorctl restart shop; echo oops in \n"


def test_a_command_runs_in_the_current_code_with_the_sites_variables(served: Served) -> None:
    served.folder = "src"
    release = served.release("one", COLOUR="red and blue")

    served.reload = Reload("command", 'pwd -P; echo "$COLOUR"')
    reload(served.host, replace(served.site, release="another"))

    printed = served.log.of(Stream.STDOUT).decode()
    assert printed == f"{release}/src\nred and blue\n"


def test_a_command_that_fails_fails_the_recipe(served: Served) -> None:
    served.release("one")

    with pytest.raises(CommandFailed, match="exit code 3"):
        _reload(served, "command", "(exit 3)")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("touch", "--force"),
        *itertools.product(("systemd", "systemd-user", "supervisor", "command"), ("", "--force")),
    ],
)
def test_what_to_reload_must_be_named(served: Served, method: str, target: str) -> None:
    with pytest.raises(RecipeError, match="can't be reloaded: enter"):
        _reload(served, method, target)


def test_nothing_to_reload_is_given(served: Served) -> None:
    _reload(served, "none")

    assert served.log.our_own == "There is nothing to reload.\n"


def test_an_unknown_way_is_refused(served: Served) -> None:
    with pytest.raises(
        RecipeError, match="'magic' is not a method to reload: choose one of touch, gunicorn"
    ):
        _reload(served, "magic")
