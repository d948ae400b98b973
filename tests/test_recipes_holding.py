"""An environment is taken again only while it holds what its pins say; else one is made beside."""

import os
import shutil
from pathlib import Path

import pytest

from deploy_manager.drift import Pinned
from deploy_manager.hosts.dry import DryHost
from deploy_manager.recipes import get_recipe
from deploy_manager.recipes.holding import MOST_SHOWN
from tests.parts.matrices import few
from tests.recipe_site import CODE, RecipeSite, make_recipe_site

FILL = ("make_virtualenv", "install_requirements")


@pytest.fixture(scope="module")
def as_it_was(tmp_path_factory: pytest.TempPathFactory, small_lock: str, tools_cache: Path) -> Path:
    """The release r1 serves, from an environment without pip, the release r2 shares it."""
    made = make_recipe_site(tmp_path_factory.mktemp("served"), small_lock, tools_cache)
    made.use(installer="uv")
    made.run("checkout_latest", *FILL, "activate")
    made.new_release("r2", CODE)
    made.run("checkout_latest", *FILL)
    return Path(made.site.deploy_path)


@pytest.fixture
def served(recipe_site: RecipeSite, as_it_was: Path) -> RecipeSite:
    """A copy of it, with r1 in hand; what was sent there is not copied."""
    copy = Path(recipe_site.site.deploy_path)
    shutil.copytree(as_it_was, copy, symlinks=True, ignore=shutil.ignore_patterns(".deploy"))
    (copy / ".deploy").symlink_to(as_it_was / ".deploy")
    recipe_site.use(installer="uv")
    return recipe_site


def packages_of(recipe_site: RecipeSite) -> Path:
    return next(Path(recipe_site.site.release_path, "venv/lib").glob("python*/site-packages"))


def say_it_is(recipe_site: RecipeSite, name: str, before: str, after: str) -> None:
    """Let a package tell another version, as if somebody had installed it by hand."""
    folder = packages_of(recipe_site) / f"{name}-{before}.dist-info"
    metadata = folder / "METADATA"
    metadata.write_text(metadata.read_text().replace(f"Version: {before}", f"Version: {after}"))
    folder.rename(folder.with_name(f"{name}-{after}.dist-info"))


def add(recipe_site: RecipeSite, name: str, version: str) -> None:
    folder = packages_of(recipe_site) / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def environment_of(recipe_site: RecipeSite, release: str) -> str:
    return os.path.basename(os.readlink(f"{recipe_site.site.releases_path}/{release}/venv"))


def test_what_was_changed_by_hand_is_reported_and_made_anew_beside(served: RecipeSite) -> None:
    old = environment_of(served, "r1")
    say_it_is(served, "sqlparse", "0.5.3", "0.5.2")
    add(served, "Left_Pad", "1.3")
    add(served, "setuptools", "80.0")
    told = served.run("make_virtualenv")
    assert "sqlparse is 0.5.2, should be 0.5.3" in told
    assert "left-pad is 1.3, should not be there" in told
    assert "asgiref" not in told
    assert "setuptools" not in told
    # Until the new one is whole nothing leads there.
    assert environment_of(served, "r1") == old
    assert packages_of(served).is_dir()

    served.run("install_requirements")
    assert environment_of(served, "r1") == f"{old}.2"
    assert (packages_of(served) / "sqlparse-0.5.3.dist-info").is_dir()
    assert "already installed" in served.run("make_virtualenv")
    assert environment_of(served, "r1") == f"{old}.2"
    assert "is complete" in served.run("install_requirements")


def test_cleaning_up_leads_all_who_share_it_to_the_new_one(served: RecipeSite) -> None:
    old = environment_of(served, "r1")
    say_it_is(served, "sqlparse", "0.5.3", "0.5.2")
    served.run(*FILL)
    assert environment_of(served, "r2") == old
    served.run("clean_up")
    assert environment_of(served, "r2") == f"{old}.2"
    assert os.listdir(served.site.venvs_path) == [f"{old}.2"]


def test_cleaning_up_leaves_what_serves_where_it_began(served: RecipeSite) -> None:
    old = environment_of(served, "r1")
    say_it_is(served, "sqlparse", "0.5.3", "0.5.2")
    served.new_release("r2", CODE)
    served.run(*FILL, "clean_up")
    assert environment_of(served, "r1") == old
    assert environment_of(served, "r2") == f"{old}.2"
    assert {old, f"{old}.2"} == set(os.listdir(served.site.venvs_path))


@pytest.mark.long
def test_changed_once_more_it_gets_the_next_number(served: RecipeSite) -> None:
    old = environment_of(served, "r1")
    for version in ("0.5.2", "0.5.1"):
        say_it_is(served, "sqlparse", "0.5.3", version)
        served.run(*FILL)
    assert environment_of(served, "r1") == f"{old}.3"


@pytest.mark.long
def test_one_that_was_broken_off_beside_is_made_anew(served: RecipeSite) -> None:
    old = environment_of(served, "r1")
    say_it_is(served, "sqlparse", "0.5.3", "0.5.2")
    served.run("make_virtualenv")
    left = Path(served.site.venvs_path, f"{old}.2/left")
    left.touch()
    served.run(*FILL)
    assert environment_of(served, "r1") == f"{old}.2"
    assert not left.exists()


def test_a_release_that_was_not_led_to_the_end_is_led_there_later(served: RecipeSite) -> None:
    """The one who filled it died between the last two commands."""
    old = environment_of(served, "r1")
    say_it_is(served, "sqlparse", "0.5.3", "0.5.2")
    served.run(*FILL)
    link = Path(served.site.release_path, "venv")
    link.rename(f"{link}.new")
    link.symlink_to(f"../../venvs/{old}")
    served.run("install_requirements")
    assert environment_of(served, "r1") == f"{old}.2"


def test_a_package_that_is_gone_is_missed(served: RecipeSite) -> None:
    shutil.rmtree(packages_of(served) / "asgiref-3.8.1.dist-info")
    assert "asgiref is missing, should be 3.8.1" in served.run("make_virtualenv")


def test_markers_are_asked_of_its_own_python_and_local_versions_count(served: RecipeSite) -> None:
    say_it_is(served, "sqlparse", "0.5.3", "0.5.3+patched")
    pins = {
        **served.site.pins,
        "colorama": (Pinned("0.4.6", "sys_platform == 'win32'"),),
        "asgiref": (
            Pinned("3.7", "python_version < '3.8'"),
            Pinned("3.8.1", "python_version >= '3.8'"),
        ),
    }
    served.use(pins=pins)
    assert "already installed" in served.run("make_virtualenv")


@pytest.mark.parametrize(
    ("program", "told"),
    few(
        ("#!/bin/sh\necho oh no >&2; exit 3\n", "oh no"),
        ("#!/bin/sh\necho '[]'\n", "no answer that can be read"),
        (None, "not found"),
    ),
)
def test_one_that_does_not_tell_what_it_has_is_not_taken(
    served: RecipeSite, program: str | None, told: str
) -> None:
    python = Path(served.site.python_path)
    python.unlink()
    if program:
        python.write_text(program)
        python.chmod(0o755)
    assert told in served.run("make_virtualenv")


def test_the_log_names_some_and_counts_the_others(served: RecipeSite) -> None:
    for number in range(MOST_SHOWN + 5):
        add(served, f"extra{number}", "1.0")
    assert "  and 5 more\n" in served.run("make_virtualenv")


def test_a_dry_run_asks_nothing_and_shows_how_one_is_made(served: RecipeSite) -> None:
    lines: list[str] = []
    host = DryHost("one", lines.append)
    for name in FILL:
        get_recipe(name).function(host, served.site)
    assert any(".deploy/virtualenv-" in line and "put" in line for line in lines)
    assert any("uv" in line and "pip install" in line for line in lines)
    assert any(line.startswith("$ mv -fT") for line in lines)
