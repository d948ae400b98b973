"""A release is what its tag says, built by what was read, from sources only."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import deploy_manager

TOP = Path(__file__).parent.parent
VERSION = deploy_manager.__version__


def test_every_action_is_pinned_to_a_commit_and_shows_its_version() -> None:
    """A tag can be moved to other code; a commit can't."""
    pinned = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    used = [
        use
        for path in (TOP / ".github/workflows").glob("*.yml")
        for use in re.findall(r"\buses: *(.+)", path.read_text())
        if not use.startswith("./")
    ]
    assert used
    assert [use for use in used if not pinned.fullmatch(use)] == []


def test_nothing_compiled_is_in_git() -> None:
    command = ["git", "-C", str(TOP), "ls-files", "*.mo", "*.pyc"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `script/release-notes` reads, with a changelog of two releases."""
    for name in ("script/release-notes", "script/python", "deploy_manager/__init__.py"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(TOP / name, copy)
    write_changelog(
        tmp_path, f"## {VERSION} - 2026-12-01\n\n- New.\n\n## 0.0.9 - 2026-11-01\n\n- Old."
    )
    return tmp_path


def write_changelog(checkout: Path, text: str) -> None:
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\n{text}\n")


def release_notes(checkout: Path, tag: str) -> "subprocess.CompletedProcess[str]":
    command = [str(checkout / "script/release-notes"), tag]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_notes_of_a_release_are_its_part_of_the_changelog(checkout: Path) -> None:
    done = release_notes(checkout, f"v{VERSION}")
    assert (done.returncode, done.stdout.strip()) == (0, "- New.")


def test_a_tag_that_is_not_the_version_releases_nothing(checkout: Path) -> None:
    done = release_notes(checkout, "v9.9.9")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"says {VERSION}" in done.stderr


def test_a_version_without_a_word_in_the_changelog_is_not_released(checkout: Path) -> None:
    write_changelog(checkout, f"## Unreleased\n\n- New.\n\n## {VERSION} - 2026-12-01\n")
    done = release_notes(checkout, f"v{VERSION}")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing about {VERSION}" in done.stderr
