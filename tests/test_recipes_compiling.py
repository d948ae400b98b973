"""What a new environment takes over of the compiled modules of the one that serves."""

import importlib.util
import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from deploy_manager.packages.pins import pinned_in
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_digest, lock_text
from tests.parts.matrices import few
from tests.parts.served import packages_of
from tests.recipe_site import CODE, RecipeSite

SCRIPT = Path(__file__).parent.parent / "deploy_manager/recipes/remote/bytecode.py"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return make_venv(tmp_path / "before")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    return make_venv(tmp_path / "new")


def make_venv(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def write(venv: Path, code: str, *, compiled: str = "", age: int = 0) -> Path:
    """Write the module `shopkit`; `compiled` is other code, to tell what is run."""
    source = packages_of(venv) / "shopkit.py"
    source.write_text(compiled or code.ljust(20))
    os.utime(source, (1_700_000_000 - age,) * 2)
    if compiled:
        py_compile.compile(str(source))
        stamp = source.stat()
        source.write_text(code.ljust(stamp.st_size))
        os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    return source


def compile_modules(venv: Path, before: Path) -> str:
    done = subprocess.run(
        [venv / "bin/python", SCRIPT],
        input=json.dumps({"before": str(before), "compiles": True}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def greeting(venv: Path) -> str:
    words = [str(venv / "bin/python"), "-B", "-c", "import shopkit; print(shopkit.SAYS)"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def is_compiled(source: Path) -> bool:
    return Path(importlib.util.cache_from_source(str(source))).exists()


def what_is_compiled(source: Path) -> bytes:
    """Without the header, which has the time of the source."""
    return Path(importlib.util.cache_from_source(str(source))).read_bytes()[16:]


def test_what_serves_is_not_compiled_again(venv: Path, before: Path) -> None:
    write(before, "SAYS = 'source'", compiled="SAYS = 'taken over'")
    new = write(venv, "SAYS = 'source'", age=60)
    new.write_text((packages_of(before) / "shopkit.py").read_text())
    assert compile_modules(venv, before).startswith("Compiled 0 modules")
    assert greeting(venv) == "taken over"


@pytest.mark.parametrize("code", ["SAYS = 'fresh'", "SAYS = 'a longer one'"])
def test_another_source_is_compiled(venv: Path, before: Path, code: str) -> None:
    write(before, "SAYS = 'source'", compiled="SAYS = 'taken over'")
    new = write(venv, code)
    assert compile_modules(venv, before).startswith("Compiled 1 modules")
    assert is_compiled(new)
    assert greeting(venv) == code.partition("'")[2].strip("'")


def test_what_was_compiled_of_an_older_source_is_not_taken(venv: Path, before: Path) -> None:
    changed = write(before, "SAYS = 'source'", compiled="SAYS = 'older'")
    os.utime(changed)  # somebody edited it on the server
    new = write(venv, "")
    new.write_text(changed.read_text())
    compile_modules(venv, before)
    assert greeting(venv) == "source"


def test_without_an_environment_before_all_that_can_be_is_compiled(venv: Path) -> None:
    new = write(venv, "SAYS = 'source'")
    for number in range(60):  # enough for several processes
        (new.parent / f"part{number}.py").write_text("SAYS = 1")
    template = new.with_name("template.py")
    template.write_text("class {{ name }}: ...")
    assert compile_modules(venv, venv.parent / "nowhere").startswith("Compiled 62 modules")
    assert is_compiled(new)
    assert is_compiled(new.with_name("part59.py"))
    assert not is_compiled(template)


@pytest.mark.parametrize("installer", few("uv", "pip"))
def test_an_upgrade_compiles_what_moves_alone(recipe_site: RecipeSite, installer: str) -> None:
    recipe_site.use(installer=installer)
    recipe_site.run("checkout_latest", "make_virtualenv", "install_requirements", "activate")
    before = Path(recipe_site.site.current_path, "venv").resolve()
    recipe_site.new_release("r2", CODE)
    lock = lock_text(complete_pins("sqlparse==0.5.3\nasgiref==3.9.1\n"))
    recipe_site.use(lock=lock, pins=pinned_in(lock), lock_digest=lock_digest(lock))
    recipe_site.run("checkout_latest", "make_virtualenv", "install_requirements")
    venv = Path(recipe_site.site.release_path, "venv").resolve()
    assert venv != before
    for source in packages_of(venv).glob("[as]*/*.py"):
        assert is_compiled(source)
    same = packages_of(venv) / "sqlparse/sql.py"
    assert what_is_compiled(same) == what_is_compiled(packages_of(before) / "sqlparse/sql.py")
