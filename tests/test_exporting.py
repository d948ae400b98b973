"""What is exported installs the same: read back, and by the pip that servers get."""

import json
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from deploy_manager.models import Environment
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.exporting import export_pylock, export_requirements
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins_of
from tests.inventory import Inventory
from tests.parts.index import Index
from tests.parts.pip_reader import embedded_pip

ASKED = "shopkit[fast]==1.0\nother>=1\nwindows==1 ; sys_platform == 'win32'\n"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with Index(user="me", password="s3cret") as made:
        made.add("shopkit", "1.0", requires=("shopcore>=2", "fastlib ; extra == 'fast'"))
        made.add("shopkit", "1.1")
        for name, version in (("shopcore", "2.0"), ("fastlib", "3"), ("windows", "1")):
            made.add(name, version)
        made.add("other", "1.0", as_sdist=True)
        yield made


@pytest.fixture(scope="module")
def pins(index: Index) -> tuple[Pin, ...]:
    return complete_pins(ASKED, index_url=index.url_with_credentials)


def would_install(index: Index, *words: str) -> dict[str, str]:
    """What the pip of servers would install, with every hash checked."""
    pip = [sys.executable, str(embedded_pip() / "pip"), "--isolated", "install", "--quiet"]
    how = ["--dry-run", "--ignore-installed", "--report=-", "--no-deps", "--no-build-isolation"]
    where = [f"--index-url={index.url_with_credentials}", "--no-cache-dir"]
    done = subprocess.run([*pip, *how, *where, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["install"]
    return {one["metadata"]["name"]: one["metadata"]["version"] for one in found}


def of_linux(pins: tuple[Pin, ...]) -> dict[str, str]:
    return {pin.name: pin.version for pin in pins if pin.name != "windows"}


def test_a_requirements_file_reads_back_and_installs_the_same(
    index: Index, pins: tuple[Pin, ...], tmp_path: Path
) -> None:
    text = export_requirements(pins)
    assert read_pins_of("r.txt", {"r.txt": text.encode()}.get) == pins
    file = tmp_path / "requirements.txt"
    file.write_text(text)
    assert would_install(index, "--require-hashes", "-r", str(file)) == of_linux(pins)


def test_a_pylock_reads_back_and_installs_the_same(
    index: Index, pins: tuple[Pin, ...], tmp_path: Path
) -> None:
    text = export_pylock(pins, index.url_with_credentials)
    assert "s3cret" not in text
    assert read_pins_of("pylock.toml", {"pylock.toml": text.encode()}.get) == pins
    file = tmp_path / "pylock.toml"
    file.write_text(text)
    assert would_install(index, "-r", str(file)) == of_linux(pins)


def test_only_files_with_a_pinned_hash_are_named(index: Index, pins: tuple[Pin, ...]) -> None:
    index.add("other", "1.0")
    text = export_pylock(pins, index.url_with_credentials)
    assert "other-1.0.tar.gz" in text
    assert "other-1.0-py3-none-any.whl" not in text


def test_the_command_writes_what_it_reads(
    inventory: Inventory, index: Index, pins: tuple[Pin, ...], tmp_path: Path
) -> None:
    Environment.objects.update(index_url=index.url_with_credentials)
    replace_pins(inventory.environment, pins)
    before = pins_of(inventory.environment)
    for form, name in (("requirements", "r.txt"), ("pylock", "pylock.toml")):
        file = tmp_path / name
        words = ("export_requirements", "production", "--format", form, "--output", str(file))
        call_command(*words)
        inventory.environment.requirements.all().delete()
        call_command("import_requirements", "production", str(file), stdout=StringIO())
        assert pins_of(inventory.environment) == before


def test_what_can_not_be_exported_is_reported(inventory: Inventory, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="has no requirements yet"):
        call_command("export_requirements", "production")
    replace_pins(inventory.environment, [Pin("django", "5.2.8")])
    with pytest.raises(CommandError, match=r"django: a pylock\.toml needs hashes"):
        call_command("export_requirements", "production", "--format=pylock")
    with pytest.raises(CommandError, match="can't be written"):
        call_command("export_requirements", "production", "--output", str(tmp_path / "no" / "r"))
