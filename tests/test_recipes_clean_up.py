"""Cleaning up removes what nobody needs any more, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy_manager.exceptions import CommandFailed
from tests.recipe_site import RecipeSite


def make_release(recipe_site: RecipeSite, name: str, venv: str, complete: bool = True) -> Path:
    release = Path(recipe_site.site.releases_path, name)
    release.mkdir(parents=True)
    made = Path(recipe_site.site.venvs_path, venv)
    made.mkdir(parents=True, exist_ok=True)
    (release / "venv").symlink_to(f"../../venvs/{venv}")
    for folder in (release, made) if complete else ():
        (folder / ".complete").touch()
    return release


def left(recipe_site: RecipeSite) -> tuple[set[str], set[str]]:
    """The names of releases and of environments."""
    site = recipe_site.site
    return set(os.listdir(site.releases_path)), set(os.listdir(site.venvs_path))


@pytest.fixture
def lived_in(recipe_site: RecipeSite) -> RecipeSite:
    """Six releases, each with an environment of its own; the second serves."""
    for number in range(1, 7):
        make_release(recipe_site, f"r{number}", f"venv{number}")
    recipe_site.use(release="r2")
    recipe_site.run("activate")
    recipe_site.use(release="", keep_releases=2)
    return recipe_site


def test_the_newest_what_serves_and_what_is_asked_for_stay(lived_in: RecipeSite) -> None:
    lived_in.use(keep=frozenset({"r3"}))

    lived_in.run("clean_up")

    assert left(lived_in) == ({"r2", "r3", "r5", "r6"}, {"venv2", "venv3", "venv5", "venv6"})


def test_what_was_broken_off_goes_but_for_the_release_at_hand(lived_in: RecipeSite) -> None:
    make_release(lived_in, "r7", "venv7", complete=False)
    make_release(lived_in, "r8", "venv8", complete=False)
    make_release(lived_in, "r9.part", "venv9")
    Path(lived_in.site.venvs_path, "unused").mkdir()

    lived_in.use(release="r8")
    lived_in.run("clean_up")

    assert left(lived_in) == ({"r2", "r5", "r6", "r8"}, {"venv2", "venv5", "venv6", "venv8"})


def test_a_release_with_half_an_environment_takes_no_place_of_a_whole_one(
    lived_in: RecipeSite,
) -> None:
    """Nothing can serve it, so it is no release to go back to."""
    for number in (7, 8):
        release = make_release(lived_in, f"r{number}", f"venv{number}", complete=False)
        (release / ".complete").touch()

    lived_in.run("clean_up")

    assert left(lived_in) == ({"r2", "r5", "r6"}, {"venv2", "venv5", "venv6"})


def test_files_and_links_among_the_releases_are_let_be(lived_in: RecipeSite) -> None:
    elsewhere = lived_in.folder / "elsewhere"
    elsewhere.mkdir()
    Path(lived_in.site.releases_path, "README").touch()
    Path(lived_in.site.releases_path, "r0").symlink_to(elsewhere)

    lived_in.run("clean_up")

    assert {"README", "r0"} <= left(lived_in)[0]
    assert elsewhere.exists()


def test_what_can_not_be_removed_is_reported_and_stops_nothing_else(lived_in: RecipeSite) -> None:
    # A folder where a file is expected can't be removed by anybody, not even by root.
    complete = Path(lived_in.site.releases_path, "r1", ".complete")
    complete.unlink()
    complete.mkdir()

    with pytest.raises(CommandFailed, match="r1 could not be removed"):
        lived_in.run("clean_up")

    assert left(lived_in)[0] == {"r1", "r2", "r5", "r6"}


def test_without_any_release_there_is_nothing_to_do(recipe_site: RecipeSite) -> None:
    recipe_site.use(release="")

    assert "removed" not in recipe_site.run("clean_up")


def by_its_folder(release: Path) -> list[str]:
    return ["sleep", "60"]


def by_its_environment(release: Path) -> list[str]:
    return [sys.executable, "-c", "import time; time.sleep(60)", str((release / "venv").resolve())]


@pytest.mark.parametrize("runs", [by_its_folder, by_its_environment])
def test_nothing_that_runs_loses_its_release_or_its_environment(
    lived_in: RecipeSite, runs: Callable[[Path], list[str]]
) -> None:
    """As a worker does that nobody has restarted: it would break at its next import."""
    release = Path(lived_in.site.releases_path, "r1")
    folder = release if runs is by_its_folder else lived_in.folder
    process = subprocess.Popen(runs(release), cwd=folder)
    try:
        printed = lived_in.run("clean_up")
        assert f"stays for now: process {process.pid} (" in printed
        assert "venv1" in left(lived_in)[1]
        assert ("r1" in left(lived_in)[0]) == (runs is by_its_folder)
    finally:
        process.kill()
        process.wait()
    assert "stays for now" not in lived_in.run("clean_up")
    assert left(lived_in) == ({"r2", "r5", "r6"}, {"venv2", "venv5", "venv6"})


def test_an_archive_that_was_sent_twice_goes(lived_in: RecipeSite) -> None:
    archive = Path(lived_in.site.tools_path, "r6.tar.gz")
    archive.parent.mkdir()
    archive.write_bytes(b"")
    lived_in.run("clean_up")
    assert not archive.exists()
