"""Commits of our own in the mirror: what they change, and that nothing ever takes them away."""

import subprocess
from pathlib import Path

import pytest

from deploy_manager.exceptions import CodeError
from deploy_manager.git.mirror import Mirror
from tests.parts.repository import Repository

REF = "refs/deploy-manager/upgrade-12"
PINS = "requirements/prod.txt"


def to_new(text: str) -> str:
    return text.replace("django==5.2.7", "django==5.2.8")


def git(mirror: Mirror, *words: str) -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(mirror.folder), *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.fixture
def base(repository: Repository, mirror: Mirror) -> str:
    """A commit with a file of pins in a folder, in an old encoding, with Windows' line ends."""
    (repository.path / "run.sh").write_text("#!/bin/sh\n")
    (repository.path / "run.sh").chmod(0o755)
    (repository.path / "requirements").mkdir()
    pins = b"\xef\xbb\xbf# caf\xe9\r\ndjango==5.2.7\r\nrequests==2.1\r\n"
    (repository.path / PINS).write_bytes(pins)
    made = repository.commit("Pins", {"ü/é.txt": "1"})
    mirror.update()
    return made


def test_only_the_file_differs_and_only_where_it_was_changed(mirror: Mirror, base: str) -> None:
    commit = mirror.amend(base, PINS, to_new, "Upgrade django\n\nFixes it.", REF)
    assert git(mirror, "rev-parse", f"{commit}^").strip() == base
    assert git(mirror, "diff", "--name-only", base, commit).split() == [PINS]
    assert git(mirror, "ls-tree", "-r", commit).replace("\n", " ").count("100755") == 1
    shown = git(mirror, "log", "-1", "--format=%an <%ae> %cn: %B", commit)
    assert shown.startswith(
        "deploy_manager <deploy_manager@localhost> deploy_manager: Upgrade django\n\nFixes it."
    )
    bytes_ = subprocess.run(
        ["git", "--git-dir", str(mirror.folder), "cat-file", "blob", f"{commit}:{PINS}"],
        check=True,
        capture_output=True,
    ).stdout
    assert bytes_ == b"\xef\xbb\xbf# caf\xe9\r\ndjango==5.2.8\r\nrequests==2.1\r\n"


def test_it_outlives_every_fetch_and_moves_no_other_ref(
    repository: Repository, mirror: Mirror, base: str
) -> None:
    before = git(mirror, "for-each-ref")
    commit = mirror.amend(base, PINS, to_new, "Upgrade", REF)
    assert git(mirror, "for-each-ref").replace(before, "").split() == [commit, "commit", REF]
    repository.commit("More", {"b.txt": "2"})
    mirror.update()
    git(mirror, "gc", "--quiet", "--prune=now")
    assert git(mirror, "rev-parse", REF).strip() == commit


def test_a_ref_that_is_there_stays_what_it_is(mirror: Mirror, base: str) -> None:
    first = mirror.amend(base, PINS, to_new, "Upgrade", REF)
    assert mirror.amend(base, PINS, str.upper, "Another", REF) == first
    assert git(mirror, "rev-parse", REF).strip() == first


def test_people_get_it_by_a_fetch(
    repository: Repository, mirror: Mirror, base: str, tmp_path: Path
) -> None:
    commit = mirror.amend(base, PINS, to_new, "Upgrade", REF)
    repository.git("fetch", "--quiet", str(mirror.folder), f"{REF}:upgrade-12")
    assert repository.git("rev-parse", "upgrade-12") == commit


def test_the_patch_can_be_applied(repository: Repository, mirror: Mirror, base: str) -> None:
    patch = mirror.patch(base, PINS, to_new, "Upgrade django")
    assert b"Subject: [PATCH] Upgrade django" in patch
    file = repository.path.parent / "one.patch"
    file.write_bytes(patch)
    repository.git("apply", "--check", str(file))
    repository.git("am", "--quiet", "--keep-cr", str(file))
    assert b"django==5.2.8\r\n" in (repository.path / PINS).read_bytes()
    assert git(mirror, "for-each-ref", "refs/deploy-manager") == ""


@pytest.mark.parametrize("path", ["gone.txt", "requirements", "a.txt/b.txt", "link.txt", "/etc/x"])
def test_what_is_no_file_of_the_commit_is_refused(
    repository: Repository, mirror: Mirror, path: str
) -> None:
    (repository.path / "requirements").mkdir()
    (repository.path / "link.txt").symlink_to("a.txt")
    commit = repository.commit("Link", {"requirements/a.txt": "1"})
    mirror.update()
    with pytest.raises(CodeError, match="can't be changed in the repository"):
        mirror.amend(commit, path, to_new, "Upgrade", REF)


@pytest.mark.parametrize("ref", ["refs/heads/main", "main", "refs/deploy-manager/../heads/x", "-f"])
def test_only_refs_of_ours_are_written(mirror: Mirror, base: str, ref: str) -> None:
    with pytest.raises(CodeError, match="is not a ref of deploy_manager"):
        mirror.amend(base, PINS, to_new, "Upgrade", ref)
