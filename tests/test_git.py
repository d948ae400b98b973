"""The mirror clone: what refs mean, what a commit holds, and what is refused."""

import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy_manager.exceptions import CodeError
from deploy_manager.git.mirror import ARCHIVES_KEPT, Mirror
from tests.parts.repository import Repository

MANY = 10**9


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return sorted(tar.getnames())


def test_a_branch_means_its_newest_commit(repository: Repository, mirror: Mirror) -> None:
    newest = repository.commit("Second", {"a.txt": "2"})
    mirror.update()
    found = mirror.resolve("main")
    assert (found.hash, found.subject, found.author) == (newest, "Second", "Shop")
    assert found.committed_at.tzinfo is not None


def test_a_tag_means_the_commit_it_was_put_on(repository: Repository, mirror: Mirror) -> None:
    repository.git("tag", "--annotate", "v1", "--message", "First release")
    tagged = repository.head
    repository.commit("Second", {"a.txt": "2"})
    mirror.update()
    assert mirror.resolve("v1").hash == tagged


def test_a_commit_is_found_by_its_whole_and_its_short_hash(
    repository: Repository, mirror: Mirror
) -> None:
    assert mirror.resolve(repository.head).hash == repository.head
    assert mirror.resolve(repository.head[:8]).hash == repository.head


def test_a_branch_named_like_a_commit_does_not_take_its_place(
    repository: Repository, mirror: Mirror
) -> None:
    approved = repository.head
    other = repository.commit("Other", {"a.txt": "2"})
    repository.git("update-ref", f"refs/heads/{approved}", other)
    mirror.update()
    assert mirror.resolve(approved).hash == approved


def test_a_branch_and_a_tag_of_one_name_are_told_apart(
    repository: Repository, mirror: Mirror
) -> None:
    repository.git("tag", "next")
    tagged = repository.head
    repository.git("checkout", "--quiet", "-b", "next")
    branched = repository.commit("Second", {"a.txt": "2"})
    mirror.update()
    with pytest.raises(CodeError, match=r"next is ambiguous.*Use heads/next, tags/next"):
        mirror.resolve("next")
    assert mirror.resolve("heads/next").hash == branched
    assert mirror.resolve("tags/next").hash == tagged


@pytest.mark.parametrize(
    "name",
    ["feature/#1", "#1", "fix(api)!", "a=b,c", "100%", "été", "機能/ログ", "a{b", "+x"],
)
def test_whatever_git_lets_a_branch_be_named_is_found(
    repository: Repository, mirror: Mirror, name: str
) -> None:
    repository.git("checkout", "--quiet", "-b", name)
    made = repository.commit("On it", {"a.txt": name})
    mirror.update()
    assert mirror.resolve(name).hash == mirror.resolve(f"heads/{name}").hash == made


def test_what_there_is_not_is_reported_with_what_there_is(
    repository: Repository, mirror: Mirror
) -> None:
    repository.git("branch", "release/2026")
    mirror.update()
    with pytest.raises(CodeError, match=r"no branch, tag or commit maim\. Similar ones: main\."):
        mirror.resolve("maim")
    with pytest.raises(CodeError, match=r"commit xyz\. It has main, release/2026\."):
        mirror.resolve("xyz")
    with pytest.raises(CodeError, match="no branch, tag or commit 0123456789"):
        mirror.resolve("0123456789")


@pytest.mark.parametrize(
    "ref",
    [
        "--upload-pack=touch evil",
        "-n",
        "$(touch evil)",
        "a;touch evil",
        "`touch evil`",
        "a|b",
        "main^{/First}",
        "main~1",
        "main:a.txt",
        "main..v1",
        "@{-1}",
        "main@{yesterday}",
        "main\n",
        "",
        "/etc",
    ],
)
def test_what_is_no_name_is_refused(mirror: Mirror, ref: str) -> None:
    with pytest.raises(CodeError, match="is not a branch, tag or commit"):
        mirror.resolve(ref)


def test_what_is_gone_is_forgotten(repository: Repository, mirror: Mirror) -> None:
    repository.git("branch", "topic")
    repository.git("tag", "v1")
    mirror.update()
    repository.git("branch", "--delete", "topic")
    repository.git("tag", "--delete", "v1")
    repository.git("branch", "topic/part")
    mirror.update()
    for ref in ("topic", "v1"):
        with pytest.raises(CodeError, match="no branch"):
            mirror.resolve(ref)
    assert mirror.resolve("topic/part").hash == repository.head


def test_a_rewritten_branch_is_followed(repository: Repository, mirror: Mirror) -> None:
    repository.git("commit", "--quiet", "--amend", "--message", "Said better")
    mirror.update()
    assert mirror.resolve("main").subject == "Said better"


def test_the_log_lists_what_is_new_newest_first(repository: Repository, mirror: Mirror) -> None:
    old = repository.head
    repository.commit("Second", {"a.txt": "2"})
    repository.commit("Zeichen: »ü« | \x1f %s", {"a.txt": "3"})
    mirror.update()
    subjects = [commit.subject for commit in mirror.log(old, repository.head)]
    assert subjects == ["Zeichen: »ü« | \x1f %s", "Second"]
    assert len(mirror.log("", repository.head)) == 3
    assert len(mirror.log("", repository.head, limit=2)) == 2
    assert mirror.log(repository.head, repository.head) == []


def test_the_log_of_a_commit_that_is_gone_is_an_error(mirror: Mirror) -> None:
    with pytest.raises(CodeError):
        mirror.log("f" * 40, mirror.resolve("main").hash)
    with pytest.raises(CodeError, match="is not a commit"):
        mirror.log("", "--output=/tmp/x")


def test_a_commit_without_words_or_with_an_impossible_date_is_read(
    repository: Repository, mirror: Mirror
) -> None:
    repository.commit("", {"a.txt": "2"}, GIT_COMMITTER_DATE="@99999999999999 +0000")
    mirror.update()
    found = mirror.resolve("main")
    assert found.subject == ""
    assert found.committed_at == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_what_is_read_ahead_is_what_is_read(repository: Repository, mirror: Mirror) -> None:
    (repository.path / "shop").mkdir()
    (repository.path / "shop/folder").mkdir()
    (repository.path / "shop/wsgi.py").symlink_to("../a.txt")
    (repository.path / "shop/asgi.py").symlink_to("nowhere")
    (repository.path / "shop/celery.py").symlink_to("/etc/passwd")
    (repository.path / "shop/loop.py").symlink_to("loop.py")
    texts = {"manage.py": "b\n\nc", "shop/manage.py": "", "shop/folder/x missing": "x"}
    commit = repository.commit("Files", {**texts, "large/manage.py": "l" * 300_000})
    mirror.update()
    paths = [*mirror.files(commit), "nowhere.py", "shop", "a b missing", "é.txt", "a\nb", ""]
    once = {path: mirror.read_bytes(commit, path) for path in paths}
    names = [path.rpartition("/")[2] for path in paths]
    mirror.read_ahead(commit, names, ["shop", "nowhere.py", "a b missing", "é.txt", "a\nb"])
    assert {path: mirror.read_bytes(commit, path) for path in paths} == once
    assert once["shop/wsgi.py"] == b"1"
    assert once["shop/celery.py"] is None


def test_files_of_a_commit_are_read(repository: Repository, mirror: Mirror) -> None:
    (repository.path / "link.txt").symlink_to("a.txt")
    (repository.path / "passwords").symlink_to("/etc/passwd")
    commit = repository.commit("Links", {"site/manage.py": "print('ü')\n", "empty": ""})
    mirror.update()
    assert mirror.read_file(commit, "site/manage.py") == "print('ü')\n"
    assert mirror.read_file(commit, "link.txt") == "1"
    assert mirror.read_file(commit, "empty") == ""
    for path in ("none", "site", "passwords", "/etc/passwd", "a\nb", ""):
        assert mirror.read_file(commit, path) is None
    assert mirror.find(commit, "manage.py") == ["site/manage.py"]


@pytest.mark.parametrize(
    "name", ["a blob", "a blob 1", " blob", "blob 3\nx", "a\n", "a\nb blob 2", f"{'f' * 40} blob 1"]
)
def test_a_file_may_be_named_like_an_answer_of_git(
    repository: Repository, mirror: Mirror, name: str
) -> None:
    before = repository.head
    commit = repository.commit("Odd", {name: "what\nit says"})
    mirror.update()
    assert mirror.read_file(commit, name) == "what\nit says"
    assert mirror.read_file(before, name) is None
    assert mirror.read_file(before, f"{name} missing") is None
    assert mirror.read_file(commit, f"a.txt\0{name}") is None


def test_an_archive_is_made_once(repository: Repository, mirror: Mirror) -> None:
    archive = mirror.archive(repository.head, MANY)
    made = archive.stat().st_ino
    assert names_in(archive) == ["a.txt"]
    assert mirror.archive(repository.head, MANY).stat().st_ino == made


def test_old_archives_are_forgotten_unless_just_asked_for(
    repository: Repository, mirror: Mirror
) -> None:
    commits = [repository.commit(f"{n}", {"a.txt": f"{n}!"}) for n in range(ARCHIVES_KEPT + 2)]
    mirror.update()
    made = [mirror.archive(commit, MANY) for commit in commits]
    assert all(archive.exists() for archive in made)
    os.utime(made[0], (1, 1))
    mirror.archive(commits[-1], MANY)
    assert [archive.exists() for archive in made] == [False] + [True] * (ARCHIVES_KEPT + 1)


def test_too_large_a_commit_is_refused(repository: Repository, mirror: Mirror) -> None:
    commit = repository.commit("Film", {"film.bin": "x" * 1000})
    mirror.update()
    with pytest.raises(CodeError, match="has 1,001 bytes of files, more than 999"):
        mirror.archive(commit, 999)


def test_submodules_are_refused_by_name(repository: Repository, mirror: Mirror) -> None:
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{repository.head},lib/theme")
    repository.git("commit", "--quiet", "--message", "Theme")
    mirror.update()
    with pytest.raises(CodeError, match="has submodules, which would be empty: lib/theme"):
        mirror.archive(repository.head, MANY)


def test_files_of_git_lfs_are_refused_unless_they_stay_at_home(
    repository: Repository, mirror: Mirror
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    attributes = "*.psd filter=lfs -text\n"
    files = {".gitattributes": attributes, "logo.psd": pointer}
    with_pointer = repository.commit("Logo", files)
    stays = repository.commit("Stay", {".gitattributes": f"{attributes}*.psd export-ignore\n"})
    mirror.update()
    with pytest.raises(CodeError, match=r"in Git LFS, .* pointers to them: logo\.psd"):
        mirror.archive(with_pointer, MANY)
    assert "logo.psd" not in names_in(mirror.archive(stays, MANY))
