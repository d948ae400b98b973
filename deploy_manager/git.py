"""The worker's own mirror clone of a repository: what a ref means, and the code of one commit.

Nothing of a repository is ever checked out or run here: no hooks, no filters of its own.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy_manager.exceptions import CodeError
from deploy_manager.logs import mask

ARCHIVES_KEPT = 5
_HASH = re.compile(r"[0-9a-f]{7,64}")
_REF = re.compile(r"(?!.*(\.\.|//|@\{))[A-Za-z0-9_][A-Za-z0-9_./+@-]*")
_FORMAT = "%H%x00%an%x00%cI%x00%s"
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.version=2")
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"


@dataclass(frozen=True)
class Commit:
    """One commit, as `git log` tells it."""

    hash: str
    subject: str
    author: str
    committed_at: datetime


class Mirror:
    """A bare clone of one repository, in a folder that several processes may share.

    `timeout` is in seconds, for each git command.
    """

    def __init__(self, repository: str, folder: Path, timeout: float) -> None:
        name = hashlib.sha256(repository.encode()).hexdigest()[:16]
        self._repository = repository
        self._folder = folder / f"{name}.git"
        self._archives = folder / f"{name}.archives"
        self._timeout = timeout

    def update(self) -> None:
        """Clone the repository, or fetch what is new. Raises CodeError."""
        self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            if self._folder.exists():
                self._git("fetch", "--quiet", "--prune", "--prune-tags", "--force", "origin")
            else:
                self._clone()

    def resolve(self, ref: str) -> Commit:
        """Return the commit that a branch, a tag or a commit's hash means now.

        Raises CodeError, naming what there is instead.
        """
        if not _REF.fullmatch(ref):
            raise CodeError(f"{ref!r} is no branch, tag or commit.")
        names = [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        if _HASH.fullmatch(ref):
            names.append(ref)
        for name in names:
            found = self._try("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
            if found:
                return self._log("--max-count=1", found.strip())[0]
        raise CodeError(f"{self._named} has no branch, tag or commit {ref}.{self._nearby()}")

    def log(self, old: str, new: str, limit: int = 50) -> list[Commit]:
        """Return the commits in `new` that are not in `old`, newest first; blank old: all.

        Raises CodeError where either is unknown.
        """
        spans = [_hash(new), *([f"^{_hash(old)}"] if old else [])]
        return self._log(f"--max-count={limit}", *spans)

    def read_file(self, commit: str, path: str) -> str | None:
        """Return a file of a commit as text; None where it has none of this name."""
        if self._kind(commit, path) != "blob":
            return None
        return self._git("cat-file", "blob", f"{_hash(commit)}:{path}")

    def find(self, commit: str, name: str) -> list[str]:
        """Return the paths of every file of this name in a commit."""
        listed = self._git("ls-tree", "-r", "-z", "--name-only", "--full-tree", _hash(commit))
        return [path for path in listed.split("\0") if path.rpartition("/")[2] == name]

    def archive(self, commit: str, max_bytes: int) -> Path:
        """Return a commit's code as a .tar.gz, made once and kept for the next deployments.

        Raises CodeError where it has submodules, whose files no archive holds, or where its files
        have more than `max_bytes` together.
        """
        self._check_what_is_inside(commit, max_bytes)
        target = self._archives / f"{_hash(commit)}.tar.gz"
        with self._alone():
            if target.exists():
                target.touch()
            else:
                self._make_archive(commit, target)
            self._forget_old_archives()
        return target

    @property
    def _named(self) -> str:
        return mask(self._repository.encode()).decode()

    def _clone(self) -> None:
        """Clone beside and rename: a clone that was broken off is never taken for whole."""
        beside = Path(tempfile.mkdtemp(dir=self._folder.parent, prefix="clone-"))
        try:
            self._run("clone", "--quiet", "--mirror", "--", self._repository, str(beside))
            beside.rename(self._folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _log(self, *arguments: str) -> list[Commit]:
        printed = self._git("log", "-z", f"--format={_FORMAT}", *arguments, "--")
        fields = printed.removesuffix("\0").split("\0") if printed else []
        return [
            Commit(hash_, subject, author, datetime.fromisoformat(time))
            for hash_, author, time, subject in zip(*[iter(fields)] * 4, strict=True)
        ]

    def _kind(self, commit: str, path: str) -> str:
        return self._try("cat-file", "-t", f"{_hash(commit)}:{path}").strip()

    def _check_what_is_inside(self, commit: str, max_bytes: int) -> None:
        listed = self._git("ls-tree", "-r", "-l", "-z", "--full-tree", _hash(commit))
        size = 0
        for entry in filter(None, listed.split("\0")):
            facts, _tab, path = entry.partition("\t")
            _mode, kind, _blob, bytes_ = facts.split()
            if kind == "commit":
                raise CodeError(
                    f"Commit {commit[:8]} has a submodule in {path}, which would stay empty:"
                    " copy its files into the repository, or install it as a package."
                )
            size += int(bytes_)
        if size > max_bytes:
            raise CodeError(
                f"Commit {commit[:8]} has {size:,} bytes of files, more than {max_bytes:,}:"
                " raise the setting MAX_ARCHIVE_BYTES, or take large files out."
            )

    def _make_archive(self, commit: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(f".{os.getpid()}.part")
        try:
            self._git("archive", "--format=tar.gz", f"--output={beside}", _hash(commit))
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    def _forget_old_archives(self) -> None:
        made = sorted(self._archives.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
        for path in made[:-ARCHIVES_KEPT]:
            path.unlink(missing_ok=True)

    def _nearby(self) -> str:
        refs = self._try("for-each-ref", "--count=5", "--format=%(refname:short)", "refs/heads")
        return f" It has the branches {', '.join(refs.split())}." if refs else ""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the mirror against other processes; the lock ends with its holder."""
        with self._folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _git(self, command: str, *arguments: str) -> str:
        return self._run("--git-dir", str(self._folder), command, *arguments)

    def _try(self, command: str, *arguments: str) -> str:
        """Return what git prints; blank where it fails."""
        try:
            return self._git(command, *arguments)
        except _GitError:
            return ""

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *_OPTIONS, *arguments],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout,
                check=False,
            )
        except FileNotFoundError:
            raise CodeError("git is not installed on the worker: apt-get install git.") from None
        except subprocess.TimeoutExpired:
            raise CodeError(
                f"{self._named} can't be reached: no answer within {self._timeout:g} s."
            ) from None
        if done.returncode:
            raise _GitError(f"{self._named} can't be read: {_last_words(done.stderr)}")
        return done.stdout.decode(errors="replace")


class _GitError(CodeError):
    """git ended with another code than 0."""


def _hash(commit: str) -> str:
    if not _HASH.fullmatch(commit):
        raise CodeError(f"{commit!r} is no commit.")
    return commit


def _last_words(stderr: bytes) -> str:
    lines = mask(stderr).decode(errors="replace").strip().splitlines()
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (fatal or lines or ["git gave no reason."])[0]


def _environment() -> dict[str, str]:
    """No prompt, no other repository, no protocol that runs a program of the URL's choice."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    kept |= {name: os.environ[name] for name in ("GIT_SSL_CAINFO",) if name in os.environ}
    return kept | {
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": _SSH,
        "LC_ALL": "C.UTF-8",
    }
