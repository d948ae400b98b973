"""Modes are ours, whatever a server's umask is; what is run there is what we sent."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.guard_line import guard_archive
from deploy_manager.recipes.shipping import ship, ship_file
from tests.parts.guards import Place
from tests.recipe_site import CODE, RecipeSite, make_recipe_site

UMASKS = [0o077, 0o002, 0o000, 0o027]
OTHERS = stat.S_IWGRP | stat.S_IWOTH
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def under() -> Iterator[Callable[[int], None]]:
    """Sets the umask of this process, which commands of a local host inherit."""
    before = os.umask(0o022)

    def set_it(umask: int) -> None:
        os.umask(umask)

    yield set_it
    os.umask(before)


@dataclass
class Guarded:
    """A site whose commands belong to a guard on this machine."""

    site: RecipeSite
    place: Place

    @property
    def top(self) -> Path:
        return Path(self.site.site.deploy_path)

    @property
    def tools(self) -> Path:
        return self.top / ".deploy"

    def open(self) -> None:
        self.site.host = self.place.open().host


@pytest.fixture
def guarded(tmp_path: Path, tools_cache: Path) -> Iterator[Guarded]:
    made = make_recipe_site(tmp_path, "", tools_cache)
    made.use(variables={"TOKEN": "secret-word"}, shared=("media/uploads",))
    made.new_release("r1", {**CODE, "run.sh": "true", "a/b/c.css": "x"})
    place = Place(Address("here", local=True), Path(made.site.deploy_path))
    yield Guarded(made, place)
    place.end()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def everything_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_symlink()]


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_what_is_served_is_read_by_all_and_changed_by_the_account_alone(
    guarded: Guarded, under: Callable[[int], None], umask: int
) -> None:
    under(umask)
    guarded.open()
    guarded.site.run("checkout_latest", "maintenance_up")
    release = Path(guarded.site.site.release_path)
    guarded.site.host.run(["mkdir", f"{release}/collected"])
    guarded.site.host.run(["touch", f"{release}/collected/shop.css"])

    assert not [path for path in everything_in(guarded.top) if mode_of(path) & OTHERS]
    served = [guarded.top, *(each for each in everything_in(guarded.top) if _is_served(each))]
    assert {mode_of(path) for path in served if path.is_dir()} == {0o755}
    assert {mode_of(path) for path in served if path.is_file()} == {0o644}
    assert {path.name for path in served} >= {"c.css", "shop.css", "uploads", "index.html"}


def _is_served(path: Path) -> bool:
    return ".deploy" not in path.parts


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_what_is_ours_is_seen_by_nobody_else(
    guarded: Guarded, under: Callable[[int], None], umask: int
) -> None:
    under(umask)
    guarded.open()
    guarded.site.run("checkout_latest")
    environment = Path(guarded.site.site.variables_path)
    assert "secret-word" in environment.read_text()
    assert mode_of(guarded.tools) == 0o700
    assert mode_of(environment) == 0o600
    assert mode_of(environment.parent) == 0o700
    journal = everything_in(guarded.tools / "journal")
    assert journal
    assert not [path for path in journal if mode_of(path) & 0o077]


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
def test_what_was_made_under_another_umask_is_mended(
    guarded: Guarded, under: Callable[[int], None], umask: int
) -> None:
    under(umask)
    for name in ("releases/old/static", "venvs/v1/bin", "shared/media", "maintenance", ".deploy"):
        (guarded.top / name).mkdir(parents=True)
    for name in ("releases/old/static/a.css", "venvs/v1/bin/python", "releases/old/.deploy.env"):
        (guarded.top / name).touch()
    (guarded.top / "venvs/v1/bin/python").chmod(0o700)
    (guarded.tools / "virtualenv-1.pyz").touch()
    under(0o022)
    guarded.open()

    opened = ["", "releases", "releases/old/static", "venvs", "venvs/v1/bin", "shared"]
    assert {mode_of(guarded.top / name) for name in opened} == {0o755}
    assert mode_of(guarded.top / "releases/old/static/a.css") == 0o644
    assert mode_of(guarded.top / "venvs/v1/bin/python") == 0o755
    assert mode_of(guarded.top / "releases/old/.deploy.env") == 0o600
    assert mode_of(guarded.tools) == 0o700
    is_trusted = bool(umask & 0o020)
    assert (guarded.tools / "virtualenv-1.pyz").exists() is is_trusted


@pytest.mark.as_root
def test_what_somebody_gave_to_another_group_is_read_by_that_alone(guarded: Guarded) -> None:
    guarded.top.mkdir()
    os.chown(guarded.top, -1, 54321)
    guarded.top.chmod(0o2770)
    guarded.open()
    assert mode_of(guarded.top) == 0o2750


def _other_text(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"evil")


def _same_length(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


def _open_to_others(path: Path) -> None:
    path.chmod(0o664)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


def _of_another(path: Path) -> None:
    if IS_ROOT:
        os.chown(path, 54321, -1)
    else:
        path.unlink()


CHANGES = [_other_text, _same_length, _open_to_others, _link, _of_another]


@pytest.mark.parametrize("change", CHANGES)
def test_a_guard_that_is_not_ours_is_replaced_before_it_is_run(
    guarded: Guarded, change: Callable[[Path], None]
) -> None:
    archive, name = guard_archive()
    guarded.tools.mkdir(parents=True)
    guard = guarded.tools / name
    guard.write_bytes(archive)
    change(guard)
    guarded.open()
    assert guarded.site.host.run("echo well").stdout == "well\n"
    assert guard.read_bytes() == archive
    assert not guard.is_symlink()
    assert (mode_of(guard), guard.stat().st_uid) == (0o600, os.geteuid())


@pytest.mark.parametrize("change", [_other_text, _same_length, _link, _of_another])
def test_a_script_or_tool_that_is_not_ours_is_replaced_before_it_is_run(
    recipe_site_without_pins: RecipeSite, change: Callable[[Path], None], tmp_path: Path
) -> None:
    host, site = recipe_site_without_pins.host, recipe_site_without_pins.site
    tool = tmp_path / "tool-1"
    tool.write_bytes(b"#!/bin/sh\n")
    sends: list[Callable[[], str]] = [
        lambda: ship(host, site, "verify.py"),
        lambda: ship_file(host, site, tool, mode=0o755),
    ]
    for send in sends:
        path = Path(send())
        content, mode = path.read_bytes(), mode_of(path)
        change(path)
        assert send() == str(path)
        assert (path.read_bytes(), mode_of(path)) == (content, mode)
        assert not path.is_symlink()
        assert path.stat().st_uid == os.geteuid()
        before = path.stat().st_ino
        send()
        assert path.stat().st_ino == before


@pytest.fixture
def recipe_site_without_pins(tmp_path: Path, tools_cache: Path) -> RecipeSite:
    return make_recipe_site(tmp_path, "", tools_cache)


@pytest.mark.parametrize("mode", [0o777, 0o757, pytest.param(0o2775, marks=pytest.mark.as_root)])
def test_a_deploy_path_that_others_could_replace_is_refused(guarded: Guarded, mode: int) -> None:
    above = guarded.top / "sites"
    above.mkdir(parents=True)
    above.chmod(mode)
    if mode & 0o020 and not mode & 0o002:
        os.chown(above, -1, 54321)
        above.chmod(mode)
    place = replace(guarded.place, folder=above / "shop", hosts=[])
    with pytest.raises(RecipeError, match=f"Others may write in {above}.*chmod go-w"):
        place.open()
    above.chmod(0o1777)  # like /tmp: there only its owner may rename it
    place.open()
    place.end()


@pytest.mark.as_root
def test_a_folder_of_ours_that_belongs_to_another_account_is_refused(guarded: Guarded) -> None:
    guarded.tools.mkdir(parents=True)
    os.chown(guarded.tools, 54321, -1)
    with pytest.raises(RecipeError, match="belongs to another account"):
        guarded.open()
    shutil.rmtree(guarded.tools)
