"""Which environment a release gets, and what is told where none can be made."""

import importlib.metadata
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.environments import environment_name
from tests.recipe_site import CODE, RecipeSite

FACTS = "CPython 3.11.7 linux-x86_64"


def prepared(recipe_site: RecipeSite, *names: str) -> str:
    return recipe_site.run("checkout_latest", "make_virtualenv", *names)


def server_python(recipe_site: RecipeSite, facts: str) -> str:
    """An interpreter of the server that says other things of itself than ours."""
    program = recipe_site.folder / "python"
    program.write_text(
        f'#!/bin/sh\ncase " $*" in *" -c "*) echo {facts}; exit;; esac\nexec python3 "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    "facts", ["CPython 3.11.8 linux-x86_64", "CPython 3.11.7 linux-aarch64", "PyPy 3.11.7 linux"]
)
def test_another_python_gets_another_environment(recipe_site: RecipeSite, facts: str) -> None:
    assert environment_name(recipe_site.site, facts) != environment_name(recipe_site.site, FACTS)


@pytest.mark.parametrize(("field", "value"), [("lock_digest", "other"), ("installer", "uv")])
def test_other_pins_or_another_installer_get_another_environment(
    recipe_site: RecipeSite, field: str, value: str
) -> None:
    other = replace(recipe_site.site, **{field: value})  # type: ignore[arg-type]
    assert environment_name(other, FACTS) != environment_name(recipe_site.site, FACTS)


@pytest.mark.long
def test_an_environment_whose_interpreter_is_gone_is_made_anew(recipe_site: RecipeSite) -> None:
    prepared(recipe_site, "install_requirements")
    python = Path(recipe_site.site.python_path)
    python.unlink()
    python.symlink_to("/no/such/python")

    recipe_site.new_release("r2", CODE)
    prepared(recipe_site, "install_requirements")

    recipe_site.host.run([recipe_site.site.python_path, "-c", "import sqlparse"])


def test_a_complete_environment_is_not_touched(recipe_site: RecipeSite) -> None:
    recipe_site.use(installer="uv")
    prepared(recipe_site, "install_requirements")
    complete = Path(recipe_site.site.release_path, "venv/.complete")
    marked_at = complete.stat().st_mtime_ns

    assert "Nothing to install" in recipe_site.run("make_virtualenv", "install_requirements")

    assert complete.stat().st_mtime_ns == marked_at


def test_a_python_too_old_for_virtualenv_is_reported_with_its_version(
    recipe_site: RecipeSite,
) -> None:
    recipe_site.use(python=server_python(recipe_site, "CPython 3.7.3 linux-x86_64"))

    with pytest.raises(RecipeError, match=r"server's Python is 3\.7\.3.*needs >=3"):
        prepared(recipe_site)


def test_a_virtualenv_that_shows_no_files_is_not_packed(
    recipe_site: RecipeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata.PathDistribution, "files", None)
    recipe_site.use(cache=recipe_site.folder / "another-cache")

    with pytest.raises(RecipeError, match="has no list of its files"):
        prepared(recipe_site)


def test_uv_of_another_platform_is_not_sent(recipe_site: RecipeSite) -> None:
    recipe_site.use(installer="uv")
    prepared(recipe_site)
    recipe_site.use(python=server_python(recipe_site, "CPython 3.11.7 linux-riscv64"))

    with pytest.raises(RecipeError, match=f"built for {sysconfig.get_platform()}.*riscv64"):
        recipe_site.run("install_requirements")

    assert not list(Path(recipe_site.site.tools_path).glob("uv-*"))


def test_without_uv_on_the_worker_it_says_how_to_get_it(
    recipe_site: RecipeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe_site.use(installer="uv")
    prepared(recipe_site)
    found = importlib.metadata.distribution

    def without_uv(name: str) -> importlib.metadata.Distribution:
        if name == "uv":
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    monkeypatch.setattr(importlib.metadata, "distribution", without_uv)
    with pytest.raises(RecipeError, match="pip install uv"):
        recipe_site.run("install_requirements")


def test_requirements_need_an_environment_first(recipe_site: RecipeSite) -> None:
    recipe_site.run("checkout_latest")

    with pytest.raises(RecipeError, match="run make_virtualenv first"):
        recipe_site.run("install_requirements")


def test_without_pins_there_is_nothing_to_fill_an_environment_with(
    recipe_site: RecipeSite,
) -> None:
    recipe_site.use(lock="", lock_digest="none", installer="uv")
    prepared(recipe_site)

    with pytest.raises(RecipeError, match="no pins to install"):
        recipe_site.run("install_requirements")
