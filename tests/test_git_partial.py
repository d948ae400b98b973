"""A mirror has the files of the commits that were looked into, not those of the whole history."""

from pathlib import Path

import pytest

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import CodeError
from deploy_manager.git.mirror import Mirror
from deploy_manager.models import LockFile, Release, State
from deploy_manager.packages.fetching import fetch_and_note
from deploy_manager.packages.repository import own_mirror_of
from tests.inventory import make_inventory
from tests.parts.repository import Repository

LARGE = 300_000
"""Characters of a file that hardly shrink when packed."""

MANY = 10**9


def large(seed: int) -> str:
    return "".join(str(pow(3, seed * 1000 + n, 10**40 + 7)) for n in range(LARGE // 40))


@pytest.fixture
def history(repository: Repository) -> Repository:
    """Four large files, of which the newest commit has only the last."""
    for number in range(1, 5):
        repository.commit(f"Number {number}", {"large.txt": large(number), "a.txt": str(number)})
    repository.git("config", "uploadpack.allowFilter", "true")
    return repository


@pytest.fixture
def partial(history: Repository, tmp_path: Path) -> Mirror:
    made = Mirror(f"file://{history.path}", tmp_path / "cache", timeout=30)
    made.update()
    return made


def size_of(mirror: Mirror) -> int:
    return sum(file.stat().st_size for file in mirror.folder.rglob("*") if file.is_file())


def one_file() -> int:
    """What one of the large files takes, packed."""
    return LARGE // 3


def hide(repository: Repository) -> Path:
    """Take a repository out of reach."""
    return repository.path.rename(repository.path.with_name("elsewhere"))


def test_only_the_files_of_the_commit_are_fetched(partial: Mirror, history: Repository) -> None:
    assert size_of(partial) < one_file()
    partial.archive(history.head, MANY)
    assert one_file() < size_of(partial) < 2 * one_file()


def test_a_later_commit_costs_what_changed(partial: Mirror, history: Repository) -> None:
    partial.archive(history.head, MANY)
    before = size_of(partial)
    history.commit("Small", {"b.txt": "small"})
    partial.update()
    hide(history)  # The files came with the commit: nothing more is asked for.
    commit = partial.resolve("main").hash
    assert partial.read_file(commit, "b.txt") == "small"
    assert partial.archive(commit, MANY).exists()
    assert size_of(partial) < before + one_file() // 2


def test_what_a_commit_brings_back_is_fetched(partial: Mirror, history: Repository) -> None:
    partial.archive(history.head, MANY)
    again = history.commit("Back to the second", {"large.txt": large(2)})
    partial.update()
    assert partial.read_file(again, "large.txt") == large(2)


def test_everything_but_files_is_known_at_once(partial: Mirror, history: Repository) -> None:
    history.git("tag", "-a", "v1", "-m", "First", "HEAD~2")
    partial.update()
    hide(history)
    head, older = partial.resolve("main").hash, partial.resolve("v1").hash
    assert [commit.subject for commit in partial.log(older, head)] == ["Number 4", "Number 3"]
    assert partial.log(head, older) == []
    assert partial.resolve(older[:10]).hash == older
    assert partial.files(older) == ["a.txt", "large.txt"]
    assert partial.has(older)
    assert not partial.has("1" * 40)


def test_without_its_repository_an_older_commit_is_refused_and_a_sent_one_is_not(
    partial: Mirror, history: Repository
) -> None:
    head, older = history.head, history.git("rev-parse", "HEAD~1")
    partial.archive(head, MANY)
    hide(history)
    fresh = Mirror(f"file://{history.path}", partial.folder.parent.parent / "cache", timeout=30)
    assert fresh.archive(head, MANY).exists()
    assert fresh.read_file(head, "a.txt") == "4"
    for ask in (lambda: fresh.archive(older, MANY), lambda: fresh.read_file(older, "a.txt")):
        with pytest.raises(CodeError, match=f"The files of commit {older[:8]} are not here yet"):
            ask()


def test_a_server_that_filters_nothing_sends_all(history: Repository, tmp_path: Path) -> None:
    history.git("config", "uploadpack.allowFilter", "false")
    mirror = Mirror(f"file://{history.path}", tmp_path / "cache", timeout=30)
    mirror.update()
    older = history.git("rev-parse", "HEAD~2")
    history.commit("Small", {"b.txt": "small"})
    mirror.update()
    hide(history)
    assert mirror.read_file(older, "a.txt") == "2"
    assert mirror.read_file(mirror.resolve("main").hash, "b.txt") == "small"


def test_a_server_that_gives_no_single_files_is_asked_for_all(
    history: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "gitconfig"
    configuration.write_text("[protocol]\nversion = 0\n[safe]\ndirectory = *\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    mirror = Mirror(f"file://{history.path}", tmp_path / "cache", timeout=30)
    mirror.update()
    older = history.git("rev-parse", "HEAD~2")
    assert mirror.read_file(older, "a.txt") == "2"
    history.commit("Small", {"b.txt": "small"})
    mirror.update()
    hide(history)
    assert mirror.read_file(mirror.resolve("main").hash, "b.txt") == "small"
    assert mirror.read_file(older, "large.txt") == large(2)


def test_others_that_only_read_find_every_file(partial: Mirror, history: Repository) -> None:
    commit = partial.amend(
        history.head, "a.txt", lambda text: f"{text}!", "Ours", "refs/deploy-manager/upgrade-1"
    )
    fetch_and_note(partial)
    hide(history)
    fresh = Mirror(f"file://{history.path}", partial.folder.parent.parent / "cache", timeout=30)
    older = fresh.log("", fresh.resolve("main").hash)[2].hash
    assert fresh.read_file(older, "large.txt") == large(2)
    assert fresh.read_file(commit, "a.txt") == "4!"


def test_our_own_commits_are_written_and_fetched(partial: Mirror, history: Repository) -> None:
    ref = "refs/deploy-manager/upgrade-1"
    commit = partial.amend(history.head, "a.txt", lambda text: f"{text}!", "Ours", ref)
    history.git("fetch", "--quiet", str(partial.folder), f"{ref}:upgrade-1")
    assert history.git("rev-parse", "upgrade-1") == commit
    assert history.git("show", "upgrade-1:a.txt") == "4!"
    patch = partial.patch(history.head, "a.txt", lambda text: f"{text}?", "Ours")
    assert b"+4?" in patch


@pytest.mark.django_db(transaction=True)
def test_a_release_whose_files_are_out_of_reach_touches_no_server(
    history: Repository, tmp_path: Path
) -> None:
    made = make_inventory(tmp_path, f"file://{history.path}")
    placement = made.add_server("one")
    own_mirror_of(made.environment.project).update()
    older = history.git("rev-parse", "HEAD~1")
    lock = LockFile.objects.of("d" * 64, "")
    release = Release.objects.make(made.environment, older, "Number 3", lock, None, build=[])
    hide(history)
    deployment = request(
        made.environment,
        "upgrade",
        source="manage.py",
        requested_by_name="me@here",
        options=DeploymentOptions(release=release),
    )
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert f"The files of commit {older[:8]} are not here yet" in str(deployment.message)
    assert [host.state for host in deployment.host_runs.all()] == [State.SKIPPED]
    assert list(Path(placement.deploy_path).iterdir()) == []
