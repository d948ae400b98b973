"""Commands on this machine get the account's environment and nothing of the worker's own."""

import os
import sys
from pathlib import Path

import pytest

from tests.parts.hosts import Opened


def _environment(opened: Opened) -> dict[str, str]:
    printed = opened.host.run("env -0").stdout
    return dict(entry.split("=", 1) for entry in printed.split("\0") if entry)


@pytest.mark.parametrize(
    "name",
    [
        "DJANGO_SETTINGS_MODULE",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "SECRET_KEY",
        "DATABASE_URL",
        "PYTHONHOME",
    ],
)
def test_what_is_the_workers_own_stays_there(
    on_this_machine: Opened, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/only/for/the/worker")

    assert name not in _environment(on_this_machine)


@pytest.mark.parametrize(
    "name", ["HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "https_proxy", "PIP_INDEX_URL", "UV_OFFLINE"]
)
def test_what_is_the_accounts_is_passed_on(
    on_this_machine: Opened, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "as it is")

    assert _environment(on_this_machine)[name] == "as it is"


def test_the_workers_virtual_environment_is_not_on_the_path(
    on_this_machine: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(Path(sys.prefix) / "bin")
    monkeypatch.setenv("VIRTUAL_ENV", "/srv/worker/venv")
    monkeypatch.setenv("PATH", os.pathsep.join([own, "/srv/worker/venv/bin", "/usr/bin", "/bin"]))

    assert _environment(on_this_machine)["PATH"] == "/usr/bin:/bin"


def test_a_path_with_nothing_else_is_the_systems_own(
    on_this_machine: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.prefix) / "bin"))

    assert _environment(on_this_machine)["PATH"] == os.defpath
