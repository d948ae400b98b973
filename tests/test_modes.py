"""Modes are ours, whatever a server's umask is; what is run there is what we sent."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.hosts.address import Address
from deploy_manager.hosts.guard_line import guard_archive
from deploy_manager.hosts.remote import launch
from deploy_manager.hosts.remote.launch import MISSING
from deploy_manager.recipes.shipping import ship, ship_file
from tests.parts.guards import Place
from tests.recipe_site import CODE, RecipeSite, make_recipe_site

UMASKS = [0o077, 0o002, 0o000, 0o027]
OTHERS = stat.S_IWGRP | stat.S_IWOTH
IS_ROOT = os.geteuid() == 0
LAUNCHER = Path(launch.__file__)
DEPLOY, STRANGER = 54322, 54321


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
        lambda: ship(host, site, "preflight.py"),
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
    os.chown(guarded.tools, STRANGER, -1)
    with pytest.raises(RecipeError, match=f"{guarded.tools} belongs to .*{STRANGER}"):
        guarded.open()
    shutil.rmtree(guarded.tools)


def launch_as(account: int | None, tools: Path) -> str:
    """Start the launcher for a deploy path as an account, or this one; return what it ends with."""
    start = subprocess.run(
        ["python3", "-I", "-S", "-c", LAUNCHER.read_text(), f"{tools}/guard", "0" * 64, str(tools)],
        capture_output=True,
        text=True,
        check=False,
        user=account,
        group=account,
        timeout=20,
    )
    assert start.returncode
    return start.stderr.strip().splitlines()[-1]


@pytest.fixture
def sites() -> Iterator[Path]:
    """Return a folder that every account reaches."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.as_root
@pytest.mark.parametrize("mode", [0o755, 0o555, 0o1777], ids=oct)
def test_a_folder_above_of_another_account_is_refused_whatever_its_mode(
    sites: Path, mode: int
) -> None:
    above = sites / "above"
    tools = above / "middle/shop/.deploy"
    tools.mkdir(parents=True)
    for folder in (above / "middle", tools.parent, tools):
        os.chown(folder, DEPLOY, DEPLOY)
    above.chmod(mode)
    assert launch_as(DEPLOY, tools) == MISSING
    os.chown(above, STRANGER, -1)
    said = launch_as(DEPLOY, tools)
    assert said.startswith(f"{above} belongs to ")
    assert str(STRANGER) in said
    assert f"chown root {above}" in said
    os.chown(above, DEPLOY, -1)
    above.chmod(0o755)
    assert launch_as(DEPLOY, tools) == MISSING


@pytest.mark.as_root
def test_root_trusts_no_other_account_either(sites: Path) -> None:
    tools = sites / "shop/.deploy"
    tools.mkdir(parents=True)
    os.chown(sites / "shop", STRANGER, -1)
    assert launch_as(0, tools).startswith(f"{sites}/shop belongs to ")


@pytest.mark.as_root
@pytest.mark.parametrize("of_link", [True, False], ids=["its link", "the folder of its link"])
def test_a_link_on_the_way_is_a_step_of_the_way(sites: Path, of_link: bool) -> None:
    real, links = sites / "real/shop", sites / "links"
    (real / ".deploy").mkdir(parents=True)
    links.mkdir()
    links.chmod(0o1777)
    (links / "shop").symlink_to("../real/shop")
    for path in (sites / "real", real, real / ".deploy", links / "shop"):
        os.chown(path, DEPLOY, DEPLOY, follow_symlinks=False)
    tools = links / "shop/.deploy"
    assert launch_as(DEPLOY, tools) == MISSING
    changed = links / "shop" if of_link else links
    os.chown(changed, STRANGER, -1, follow_symlinks=False)
    assert launch_as(DEPLOY, tools).startswith(f"{changed} belongs to ")


@pytest.mark.as_root
@pytest.mark.parametrize("name", ["releases", "venvs", "current"])
def test_what_is_served_from_belongs_to_no_other_account_either(sites: Path, name: str) -> None:
    tools = sites / "shop/.deploy"
    (tools.parent / "releases/r1").mkdir(parents=True)
    (tools.parent / "venvs").mkdir()
    tools.mkdir()
    (tools.parent / "current").symlink_to("releases/r1")
    for path in (tools.parent, *tools.parent.rglob("*")):
        os.chown(path, DEPLOY, DEPLOY, follow_symlinks=False)
    assert launch_as(DEPLOY, tools) == MISSING
    os.chown(tools.parent / name, STRANGER, -1, follow_symlinks=False)
    assert launch_as(DEPLOY, tools).startswith(f"{tools.parent / name} belongs to ")


@pytest.mark.parametrize(
    "links",
    [
        {"current": "current"},
        {"releases": "venvs", "venvs": "releases"},
        {"current": "releases/r1", "releases": "./releases/../releases"},
    ],
    ids=["to itself", "to each other", "by the way through it"],
)
def test_links_in_a_circle_are_refused_and_nothing_runs_on(
    tmp_path: Path, links: dict[str, str]
) -> None:
    (tmp_path / ".deploy").mkdir()
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    said = launch_as(None, tmp_path / ".deploy")
    assert "leads through more than 40 links" in said
    assert any(said.endswith(f"run rm {tmp_path / name}") for name in links)


def test_as_many_links_as_the_kernel_follows_are_followed(tmp_path: Path) -> None:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / "real").mkdir()
    for number in range(39):
        (tmp_path / f"link-{number}").symlink_to(f"link-{number + 1}" if number < 38 else "real")
    (tmp_path / "current").symlink_to("link-0")
    assert (tmp_path / "current").is_dir()
    assert launch_as(None, tmp_path / ".deploy") == MISSING


def test_a_file_where_a_folder_belongs_is_named(tmp_path: Path) -> None:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / "releases").touch()
    (tmp_path / "current").symlink_to("releases/r1")
    said = launch_as(None, tmp_path / ".deploy")
    assert said.startswith(f"{tmp_path}/current leads through {tmp_path}/releases, which is not a")


@pytest.mark.as_root
def test_what_the_account_may_not_look_into_is_named(sites: Path) -> None:
    tools, closed = sites / "shop/.deploy", sites / "closed"
    tools.mkdir(parents=True)
    closed.mkdir(mode=0o700)
    (sites / "shop/releases").symlink_to(closed / "releases")
    for path in (sites / "shop", tools):
        os.chown(path, DEPLOY, DEPLOY)
    said = launch_as(DEPLOY, tools)
    assert said == (
        f"This account can't follow {sites}/shop/releases: {closed}/releases: Permission denied"
    )


def test_releases_on_another_disk_that_others_may_write_are_refused(guarded: Guarded) -> None:
    disk = guarded.top.parent / "disk"
    disk.mkdir()
    disk.chmod(0o777)
    guarded.tools.mkdir(parents=True)
    (guarded.top / "releases").symlink_to(disk)
    with pytest.raises(RecipeError, match=f"Others may write in {disk}.*chmod go-w {disk}"):
        guarded.open()
    disk.chmod(0o755)
    guarded.open()


def test_who_owns_a_folder_above_matters_to_any_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path / "above"
    (above / "shop").mkdir(parents=True)
    launch.check_way(f"{above}/shop")
    look = os.lstat

    def of_a_stranger(path: str) -> os.stat_result:
        facts = look(path)
        return os.stat_result((*facts[:4], STRANGER, *facts[5:])) if path == str(above) else facts

    refused = f"{above} belongs to .*{STRANGER}.*chown root {above}"
    # Only here: pytest looks, too, when it removes the folder.
    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", of_a_stranger)
        with pytest.raises(SystemExit, match=refused):
            launch.check_way(f"{above}/shop")
