"""`script/test -s tests/benchmark_git.py`: the code of one commit out of a repository with a past.

A clone with all files of the history, as `git clone --mirror` has it, in turn with our mirror: the
first deployment and later ones, in seconds and in megabytes kept. Then what the archive takes at
each level of gzip. Prints medians; asserts nothing about time. `MEGABYTES` in the environment is
the size of the history (500).
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy_manager.git.mirror import Mirror
from tests.parts.repository import Repository

MEGABYTES = int(os.environ.get("MEGABYTES", "500"))
ROUNDS = 3
FILES, FOLDERS = 3000, 60
"""Of the newest commit: small ones, as of code."""

LINE = "    return render(request, 'shop/{name}.html', {{'number': {number}, 'rest': {more}}})\n"
NEVER = 10**12


def history() -> Iterator[bytes]:
    """Yield the input of `git fast-import`: in each commit a file of a megabyte is another one."""
    for number in range(MEGABYTES):
        yield f"commit refs/heads/main\ncommitter A <a@b> {1_700_000_000 + number} +0000\n".encode()
        yield b"data 4\nMore\n"
        if number == 0:
            for name in range(FILES):
                lines = (LINE.format(name=name, number=n, more=name * n) for n in range(60))
                yield _file(f"code/{name % FOLDERS}/module{name}.py", "".join(lines).encode())
        yield _file(f"media/{number % 20}.bin", os.urandom(1_000_000))


def _file(name: str, content: bytes) -> bytes:
    return b"M 644 inline %s\ndata %d\n%s\n" % (name.encode(), len(content), content)


@pytest.fixture
def large(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "large")
    made.path.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "uploadpack.allowFilter", "true")
    importing = ["git", "-C", str(made.path), "fast-import", "--quiet"]
    with subprocess.Popen(importing, stdin=subprocess.PIPE) as process:
        assert process.stdin
        for part in history():
            process.stdin.write(part)
        process.stdin.close()
        assert process.wait() == 0
    made.git("reset", "--quiet", "--hard")
    return made


@dataclass
class Whole:
    """A clone with everything, and an archive of a commit: what a mirror was without filters."""

    url: str
    folder: Path

    def update(self) -> None:
        if self.folder.exists():
            refs = "+refs/heads/*:refs/heads/*"
            words = ["git", "--git-dir", str(self.folder), "fetch", "-q", self.url, refs]
        else:
            words = ["git", "clone", "-q", "--bare", self.url, str(self.folder)]
        subprocess.run(words, check=True)

    def archive(self, commit: str, _most: int) -> None:
        archive = f"--output={self.folder.parent / commit}.tar.gz"
        words = ["archive", "--format=tar.gz", archive, commit]
        subprocess.run(["git", "--git-dir", str(self.folder), *words], check=True)


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def timed(mirror: Mirror | Whole, commit: str) -> tuple[float, float]:
    """Return the seconds of having the commit here, and of its archive."""
    began = time.perf_counter()
    mirror.update()
    if isinstance(mirror, Mirror):
        mirror.read_bytes(commit, "code/0/module0.py")  # as pins are read: before the archive
    here = time.perf_counter()
    mirror.archive(commit, NEVER)
    return here - began, time.perf_counter() - here


def test_the_first_deployment_and_each_later_one(large: Repository, tmp_path: Path) -> None:
    print(f"\n{MEGABYTES} MB of history, {FILES} files of code and 20 of 1 MB in its last commit")
    url = f"file://{large.path}"
    for name in ("all of the history", "ours"):
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        mirror = Mirror(url, folder, 600) if name == "ours" else Whole(url, folder / "whole.git")
        here, archived = timed(mirror, large.head)
        print(f"{name}: first {here:.2f} s, archive {archived:.2f} s, {megabytes(folder):.0f} MB")
        tell_later(name, mirror, large, folder)


def tell_later(name: str, mirror: Mirror | Whole, large: Repository, folder: Path) -> None:
    times = []
    before = megabytes(folder)
    for number in range(ROUNDS):
        large.commit("Code", {f"code/{number}/module{number}.py": f"# {name} {number}\n"})
        times.append(timed(mirror, large.head))
    here, archived = (statistics.median(column) for column in zip(*times, strict=True))
    more = (megabytes(folder) - before) / ROUNDS
    print(f"{name}: each later one {here:.3f} s, archive {archived:.2f} s, {more:.1f} MB with it")


def test_what_the_archive_takes(large: Repository, tmp_path: Path) -> None:
    shutil.rmtree(large.path / "media")
    large.commit("Code alone", {})
    print("\nan archive of the code alone")
    for level in (1, 3, 6, 9):
        target = tmp_path / f"{level}.tar.gz"
        began = time.perf_counter()
        large.git("archive", f"-{level}", "--format=tar.gz", f"--output={target}", "HEAD")
        took, size = time.perf_counter() - began, target.stat().st_size / 1e6
        print(f"gzip -{level}: {took:.2f} s, {size:.2f} MB")
