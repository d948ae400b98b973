"""A server needs a Python that is not too old: which one is told before anything is sent there."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import deploy_manager
from deploy_manager.exceptions import RecipeError, WheelError
from deploy_manager.hosts.address import Address
from deploy_manager.recipes import packing
from deploy_manager.recipes.building import build_wheel
from deploy_manager.recipes.host import OLDEST_PYTHON
from deploy_manager.wheels.python import own_python
from tests.parts.guards import Place
from tests.recipe_site import RecipeSite
from tests.wheel_site import built_by

HOUSE = Path(deploy_manager.__file__).parent
REMOTE = sorted([*(HOUSE / "hosts/remote").rglob("*.py"), *(HOUSE / "recipes/remote").glob("*.py")])


def old_python(folder: Path) -> str:
    """Return a stand-in: this machine's Python, which says of itself that it is an old one."""
    program = folder / "python3.9"
    program.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 3.9.2 && exit\nexec python3 "$@"\n')
    program.chmod(0o755)
    return str(program)


def test_an_old_python_is_reported_before_anything_is_sent(place: Place) -> None:
    with pytest.raises(RecipeError) as told:
        place.open(python=old_python(place.folder))
    assert str(told.value) == (
        f"{place.address.name} has Python 3.9.2, but 3.11 or later is needed: install one there,"
        " and enter it as the environment's “Python”."
    )
    assert not place.guarded.exists()


def test_a_python_that_is_older_than_the_last_time_is_reported(place: Place) -> None:
    place.open().host.close()
    with pytest.raises(RecipeError, match=r"has Python 3\.\d+\.\d+, but 3\.99 or later is needed"):
        place.open(oldest_python=(3, 99))


def test_a_python_that_can_t_even_read_the_guard_is_reported(place: Place) -> None:
    place.open().host.close()
    program = place.folder / "python2.7"
    program.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 2.7.18 && exit\necho no -I >&2; exit 2\n')
    program.chmod(0o755)
    with pytest.raises(RecipeError, match=r"has Python 2\.7\.18, but 3\.11 or later"):
        place.open(python=str(program))


def test_what_is_no_python_is_reported(place: Place) -> None:
    with pytest.raises(RecipeError, match=r"does not report its version, but '-c "):
        place.open(python="/bin/echo")


def test_a_builder_with_an_old_python_is_reported(recipe_site: RecipeSite, tmp_path: Path) -> None:
    recipe_site.use(builder=built_by(Address("yard", local=True), old_python(tmp_path)))
    nothing = Path("brush-1.0.tar.gz")
    with pytest.raises(WheelError, match=r"yard has Python 3\.9\.2, but 3\.11 or later"):
        build_wheel(recipe_site.site, own_python(), nothing, nothing)


def test_what_is_sent_runs_by_the_oldest_python_that_is_documented() -> None:
    packing.oldest_python.cache_clear()
    assert packing.oldest_python() == OLDEST_PYTHON
    script = runpy.run_path(str(HOUSE / "recipes/remote/preflight.py"))
    assert script["OLDEST_PYTHON"] == OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    for name in ("README.md", "docs/add-it-to-your-project.md"):
        text = " ".join((HOUSE.parent / name).read_text().split())
        assert re.search(rf"sshd and Python {re.escape(oldest)} or later", text), name


def test_tools_that_need_more_say_so_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = sys.version_info.minor
    monkeypatch.setattr(packing, "_needed_python", lambda found: SpecifierSet(f">=3.{own}"))
    packing.oldest_python.cache_clear()
    assert packing.oldest_python() == (3, max(own, OLDEST_PYTHON[1]))
    packing.oldest_python.cache_clear()


@pytest.mark.parametrize("path", REMOTE, ids=lambda path: path.name)
def test_what_runs_on_a_server_is_read_by_a_python_that_is_too_old(path: Path) -> None:
    """It has to say that it is."""
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
