"""The mirror clone where something is wrong: out of reach, hostile, killed, or slow."""

import fcntl
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy_manager.exceptions import CodeError
from deploy_manager.git.mirror import Mirror
from tests.parts.hosts import is_running
from tests.parts.repository import Repository
from tests.parts.served import wait_until


def test_a_repository_that_is_not_there_is_reported(tmp_path: Path) -> None:
    mirror = Mirror("/nowhere/shop.git", tmp_path, timeout=30)
    with pytest.raises(CodeError, match=r"/nowhere/shop.git can't be reached: .*does not exist"):
        mirror.update()
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_what_ssh_says_is_reported(tmp_path: Path) -> None:
    mirror = Mirror("ssh://git@127.0.0.1:1/shop.git", tmp_path, timeout=30)
    with pytest.raises(CodeError, match="can't be reached: ssh: connect to host"):
        mirror.update()


@pytest.mark.parametrize("password", ["s3cret", "s3@cret", "s3:cret"])
def test_passwords_stand_in_no_message(tmp_path: Path, password: str) -> None:
    mirror = Mirror(f"https://me:{password}@127.0.0.1:1/shop.git", tmp_path, timeout=30)
    with pytest.raises(CodeError) as error:
        mirror.update()
    assert "can't be reached" in str(error.value)
    assert "s3" not in str(error.value)
    assert "cret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["--upload-pack=touch evil", "-u", "ext::sh -c touch% evil", "fd::17"]
)
def test_urls_that_run_programs_are_refused(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CodeError, match="is not a repository"):
        Mirror(url, tmp_path / "cache", timeout=30).update()
    assert not (tmp_path / "evil").exists()


def test_an_empty_repository_is_reported(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "new.git")], check=True)
    mirror = Mirror(str(tmp_path / "new.git"), tmp_path / "cache", timeout=30)
    mirror.update()
    with pytest.raises(CodeError, match="It is empty: push a branch"):
        mirror.resolve("main")


def test_variables_of_another_repository_do_not_lead_astray(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere")
    mirror.update()
    assert mirror.resolve("main").subject == "First"


def test_what_a_killed_git_left_stops_nobody(
    repository: Repository, mirror: Mirror, tmp_path: Path
) -> None:
    (clone,) = (tmp_path / "cache").glob("*.git")
    for left in ("packed-refs.lock", "refs/heads/main.lock"):
        (clone / left).parent.mkdir(parents=True, exist_ok=True)
        (clone / left).touch()
    newest = repository.commit("Second", {"a.txt": "2"})
    mirror.update()
    assert mirror.resolve("main").hash == newest


def test_what_a_killed_clone_left_stops_nobody(repository: Repository, tmp_path: Path) -> None:
    mirror = Mirror(str(repository.path), tmp_path / "new", timeout=30)
    mirror.update()
    (clone,) = (tmp_path / "new").glob("*.git")
    half_made = clone.with_suffix(".part")
    clone.rename(half_made)
    shutil.rmtree(half_made / "objects")
    mirror.update()
    assert mirror.resolve("main").hash == repository.head
    assert not half_made.exists()


def test_several_that_begin_at_once_share_one_mirror(
    repository: Repository, tmp_path: Path
) -> None:
    def find(_number: int) -> tuple[str, Path]:
        mirror = Mirror(str(repository.path), tmp_path / "new", timeout=30)
        mirror.update()
        commit = mirror.resolve("main").hash
        return commit, mirror.archive(commit, 10**6)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(find, range(8)))
    assert {commit for commit, _archive in found} == {repository.head}
    assert len({archive for _commit, archive in found}) == 1
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".git", ".lock", ".archives"}


def test_a_repository_of_another_account_is_reported_with_what_to_run(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_another = tmp_path / "bin/git"
    as_another.parent.mkdir()
    as_another.write_text(
        f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n'
    )
    as_another.chmod(0o755)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("PATH", f"{as_another.parent}:/usr/bin:/bin")
    mirror = Mirror(f"file://{repository.path}", tmp_path / "new", timeout=30)
    with pytest.raises(CodeError, match=r"git config --global --add safe.directory"):
        mirror.update()


def test_a_mirror_in_use_is_waited_for_no_longer_than_the_time_out(
    repository: Repository, mirror: Mirror, tmp_path: Path
) -> None:
    (lock,) = (tmp_path / "cache").glob("*.lock")
    impatient = Mirror(str(repository.path), tmp_path / "cache", timeout=0.1)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CodeError, match="Another process is still fetching"):
            impatient.update()
    mirror.update()


def test_a_git_that_does_not_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "ssh"
    silent.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(silent))
    mirror = Mirror("git@silent.test:shop.git", tmp_path / "cache", timeout=2)
    with pytest.raises(CodeError, match="can't be reached: git did not end within 2 s"):
        mirror.update()
    silent_ssh = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_running(silent_ssh))


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CodeError, match=r"can't be written: .*DEPLOY_MANAGER\[.CACHE.\]"):
        Mirror("/nowhere", tmp_path / "cache", timeout=5).update()
