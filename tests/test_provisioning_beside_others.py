"""Provisioning a server on which others have set something up: that stays as it is."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.recipes.remote.provision import apt
from deploy_manager.recipes.remote.provision.changes import Problem
from deploy_manager.tiers.kinds import get_kind


class System:
    """A system with units, and packages that bring some."""

    def __init__(self, folder: Path, units: set[str]) -> None:
        self.folder, self.units = folder, units
        self.disabled: list[str] = []
        self.fails = False

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        code = 0 if words[-1] in self.units else 1
        return subprocess.CompletedProcess(words, code, "", "")

    def do(self, *words: str) -> str:
        self.disabled.append(words[-1])
        return ""

    def install(self, names: list[str]) -> None:
        self.units |= {"nginx.service", "redis-server.service"}
        (self.folder / "ports.conf").touch()
        (self.folder / "new.conf").write_text("port = 5433\n")
        if self.fails:
            raise Problem("It can't be installed.")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    made = System(tmp_path, {"nginx.service"})
    (tmp_path / "old.conf").write_text("port = 5433\n")
    (tmp_path / "default").write_text("somebody's site")
    monkeypatch.setattr(apt, "POLICY", str(tmp_path / "policy-rc.d"))
    for name in ("ask", "do", "install"):
        monkeypatch.setattr(apt, name, getattr(made, name))
    return made


def needs_of(folder: Path) -> dict[str, Any]:
    return {
        "disable": ["nginx.service", "redis-server.service"],
        "removed": [["nginx-light", f"{folder}/default"], ["nginx-light", f"{folder}/ports.conf"]],
        "commented": [],
        "replaced": [["postgresql", f"{folder}/*.conf", r"port = \d+", "port = 5432"]],
    }


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


NEW = {"new.conf": "port = 5432\n"}
OTHERS = {"old.conf": "port = 5433\n", "default": "somebody's site"}


def test_a_server_that_runs_already_is_neither_stopped_nor_silenced(
    system: System, tmp_path: Path
) -> None:
    apt.install_quietly(["redis-server"], needs_of(tmp_path))
    assert system.disabled == ["redis-server.service"]
    assert texts(tmp_path) == {**OTHERS, **NEW}


def test_what_fails_half_way_listens_nowhere_either(system: System, tmp_path: Path) -> None:
    system.fails = True
    with pytest.raises(Problem):
        apt.install_quietly(["redis-server"], needs_of(tmp_path))
    assert system.disabled == ["redis-server.service"]
    assert texts(tmp_path) == {**OTHERS, **NEW}


def test_what_a_power_cut_interrupted_is_finished(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_nothing(work: object) -> None:
        """As if the power failed."""

    with monkeypatch.context() as cut:
        cut.setattr(apt, "end_policy", end_nothing)
        apt.install_quietly(["redis-server"], needs_of(tmp_path))
    work = apt.work_in_policy()
    assert work is not None
    apt.end_policy(work)
    assert system.disabled == ["redis-server.service"]
    assert texts(tmp_path) == {**OTHERS, **NEW}
    assert apt.work_in_policy() is None


def test_any_nginx_is_enough() -> None:
    [names] = get_kind("nginx").packages
    packages = [{"names": names.split("|"), "why": "for nginx"}]
    assert apt.missing_of(packages, {"nginx"}, {"nginx-light"}) == {}
