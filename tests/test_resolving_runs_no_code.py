"""Whoever looks what could be installed runs nobody's code: no index's, and no repository's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_manager.exceptions import PinError
from deploy_manager.requirements import declared
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.exporting import export_pylock
from deploy_manager.requirements.moving import move_pins
from deploy_manager.requirements.pins import Pin, lock_text
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.requirements.reading import read_pins_of
from deploy_manager.requirements.targets import Target
from tests.parts.index import Index
from tests.parts.sources import add_trap

DEBIAN = Target("3.11.2", platform="linux-x86_64", libc="glibc 2.36")


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What the code of a trap writes to; nobody may have run it by the end of the test."""
    marker = tmp_path / "marker"
    yield marker
    assert not marker.exists(), marker.read_text()


@pytest.fixture
def index(package_index: Index, marker: Path) -> Index:
    add_trap(package_index, "brush", "1.0", marker)
    add_trap(package_index, "canvas", "1.0", marker, declares=("paint>=1",))
    for version in ("1.0", "1.1", "2.0"):
        package_index.add("paint", version)
        package_index.add("shopkit", version, requires=("paint",))
    return package_index


def versions(pins: tuple[Pin, ...]) -> dict[str, str]:
    return {pin.name: pin.version for pin in pins}


@pytest.mark.parametrize("asked", ["brush", "brush==1.0", "studio", "paint\nbrush>=1"])
def test_a_package_that_is_source_only_is_named_with_what_to_do(index: Index, asked: str) -> None:
    index.add("studio", "1.0", requires=("brush",))
    with pytest.raises(PinError) as refusal:
        complete_pins(asked, python_version="3.11", index_url=index.url)
    told = str(refusal.value)
    assert "brush 1.0 has no wheel for Python 3.11 on linux" in told
    assert "choose a builder on the environment" in told
    assert "Pin a version that has a wheel" in told


def test_a_version_with_a_wheel_is_taken_before_a_newer_source(index: Index, marker: Path) -> None:
    add_trap(index, "paint", "3.0", marker)
    assert versions(complete_pins("paint", index_url=index.url)) == {"paint": "2.0"}


def test_what_a_source_declares_is_believed(index: Index) -> None:
    found = versions(complete_pins("canvas\npaint<2\n", index_url=index.url))
    assert found == {"canvas": "1.0", "paint": "1.1"}


def lock_with(index: Index, name: str) -> str:
    """A lock of shopkit and paint 1.0, with a package that exists as source only."""
    pins = complete_pins("shopkit==1.0\npaint==1.0\n", index_url=index.url)
    file = index.projects[name].files[f"{name}-1.0.tar.gz"]
    direct = (Pin(name, "1.0", hashes=(f"sha256:{file.sha256}",)),)
    paint = Pin("paint", "1.0", hashes=pins[0].hashes, direct=False)
    return lock_text([*direct, paint, *pins[1:]])


@pytest.mark.parametrize("name", ["brush", "canvas"])
def test_a_pin_that_is_source_only_stays_while_others_move(index: Index, name: str) -> None:
    after = move_pins(
        lock_with(index, name),
        [PinRequest("shopkit", Reach.MINOR)],
        targets=(DEBIAN,),
        index_url=index.url,
    )
    assert {(move.name, move.before, move.after) for move in after.moves} == {
        ("shopkit", "1.0", "1.1")
    }
    found = {pin.name: pin for pin in after.pins}
    assert found[name].hashes
    assert not found["paint"].direct


def test_all_can_be_wished_for_where_one_is_source_only(index: Index) -> None:
    names = ("brush", "paint", "shopkit")
    requests = [PinRequest(name, Reach.LATEST) for name in names]
    after = move_pins(lock_with(index, "brush"), requests, targets=(DEBIAN,), index_url=index.url)
    assert versions(after.pins) == {"brush": "1.0", "paint": "2.0", "shopkit": "2.0"}


def test_a_source_only_pin_does_not_leave_for_a_wheel_unasked(index: Index) -> None:
    index.add("brush", "1.1")
    lock = lock_text([Pin("brush", "1.0"), Pin("shopkit", "1.0"), Pin("paint", "1.0")])
    after = move_pins(lock, [PinRequest("shopkit", Reach.LATEST)], index_url=index.url)
    assert versions(after.pins)["brush"] == "1.0"


def test_a_move_to_what_is_source_only_is_refused_by_name(index: Index, marker: Path) -> None:
    add_trap(index, "paint", "3.0", marker)
    lock = lock_text(complete_pins("paint==1.0\n", index_url=index.url))
    options = PinRequest("paint", Reach.EXACT, "3.0")
    with pytest.raises(PinError) as refusal:
        move_pins(lock, [options], targets=(DEBIAN,), index_url=index.url)
    assert "paint 3.0 has no wheel for Python 3.11.2 on linux x86_64" in str(refusal.value)


def test_a_move_to_a_source_that_declares_what_it_needs_is_planned(
    index: Index, marker: Path
) -> None:
    add_trap(index, "canvas", "2.0", marker, declares=("paint>=2",))
    options = PinRequest("canvas", Reach.EXACT, "2.0")
    after = move_pins(lock_with(index, "canvas"), [options], targets=(DEBIAN,), index_url=index.url)
    assert versions(after.pins) == {"canvas": "2.0", "paint": "2.0", "shopkit": "1.0"}


def test_a_build_of_another_kind_of_version_is_no_way_in(index: Index, marker: Path) -> None:
    """`==1.0` means 1.0+local, too."""
    add_trap(index, "canvas", "1.0+evil", marker)
    after = move_pins(
        lock_with(index, "canvas"), [PinRequest("shopkit", Reach.LATEST)], index_url=index.url
    )
    assert versions(after.pins)["canvas"] == "1.0"


@pytest.mark.parametrize(
    "variables",
    [
        {"UV_NO_BINARY": "1", "UV_NO_BINARY_PACKAGE": "brush", "PIP_NO_BINARY": ":all:"},
        {"UV_CONFIG_FILE": "uv.toml"},
        {"XDG_CONFIG_HOME": "."},
        {"HOME": "."},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_no_setting_of_the_account_has_sources_built(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for folder in (".", "uv", ".config/uv"):
        file = tmp_path / folder / "uv.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("no-build = false\nno-binary-package = ['brush']\n")
    project = "[tool.uv]\nno-build = false\nno-binary-package = ['brush']\n"
    (tmp_path / "pyproject.toml").write_text(project)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    for name, text in variables.items():
        monkeypatch.setenv(
            name, str(tmp_path / text) if name in ("HOME", "XDG_CONFIG_HOME") else text
        )
    with pytest.raises(PinError, match=r"brush 1\.0 has no wheel"):
        complete_pins("brush", index_url=index.url)


def test_a_uv_lock_of_a_repository_is_read_without_its_code(tmp_path: Path, marker: Path) -> None:
    code = f"open({str(marker)!r}, 'a').write('run')\n"
    project = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "shop"
requires-python = ">=3.11"
dynamic = ["version", "dependencies"]
[tool.uv]
required-version = "==0.0.1"
"""
    lock = """
version = 1
requires-python = ">=3.11"
[[package]]
name = "shop"
source = { editable = "." }
dependencies = [{ name = "paint" }]
[[package]]
name = "paint"
version = "1.0"
source = { registry = "https://index.test/simple" }
wheels = [{ url = "https://index.test/paint-1.0-py3-none-any.whl", hash = "sha256:HASH" }]
""".replace("HASH", "a" * 64)
    files = {"pyproject.toml": project, "uv.lock": lock, "backend.py": code, "setup.py": code}
    found = read_pins_of("uv.lock", {name: text.encode() for name, text in files.items()}.get)
    assert versions(found) == {"paint": "1.0"}


def test_files_of_a_source_are_listed_for_a_pylock_without_building_it(index: Index) -> None:
    (file,) = index.projects["brush"].files.values()
    pins = (Pin("brush", "1.0", hashes=(f"sha256:{file.sha256}",)),)
    assert "brush-1.0.tar.gz" in export_pylock(pins, index.url)


def test_programs_that_read_what_strangers_wrote_get_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Index
) -> None:
    told = tmp_path / "told"
    program = tmp_path / "bin/uv"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv > {told}\npwd >> {told}\nls -A >> {told}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr("deploy_manager.requirements.uv.sys.executable", str(program.parent / "py"))
    for name in ("DJANGO_SECRET_KEY", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "PYTHONPATH"):
        monkeypatch.setenv(name, "s3cret")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/ours.pem")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    with pytest.raises(PinError):
        complete_pins("paint", index_url=index.url)
    lines = told.read_text().splitlines()
    assert "s3cret" not in told.read_text()
    assert {"SSL_CERT_FILE=/etc/ssl/ours.pem", "HTTPS_PROXY=http://proxy.test:3128"} <= set(lines)
    assert f"UV_DEFAULT_INDEX={index.url}" in lines
    home = next(line for line in lines if line.startswith("HOME=")).removeprefix("HOME=")
    assert home != os.environ["HOME"]
    assert lines[-1] == home, "its home, where it begins, is empty"


@pytest.mark.parametrize("speaks_json", [True, False])
def test_a_source_that_is_too_large_is_not_fetched(
    index: Index, monkeypatch: pytest.MonkeyPatch, speaks_json: bool
) -> None:
    index.speaks_json = speaks_json
    monkeypatch.setattr(declared, "MOST_BYTES", 100)
    with pytest.raises(PinError, match=r"canvas-1\.0\.tar\.gz is larger than 0 MiB"):
        declared.declared_by("canvas", "1.0", (), index.url)


def test_a_source_is_not_fetched_on_when_it_is_larger_than_announced() -> None:
    tracker = declared._Bounded("canvas-1.0.tar.gz", None)
    tracker.update(declared.MOST_BYTES)
    with pytest.raises(PinError, match="is larger than 256 MiB"):
        tracker.update(1)
