"""The mirror of a repository: resolving refs, reading files, archiving commits.

Nothing of a repository is ever checked out or run here, neither hooks nor filters.
"""

import difflib
import fcntl
import hashlib
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError
from deploy_manager.git.access import logged_in
from deploy_manager.git.amending import Change, amend_file, check_own_ref, keep_commit, patch_of
from deploy_manager.git.command import Git, GitError
from deploy_manager.git.contents import refuse_incomplete_archive, refuse_lfs_pointers
from deploy_manager.git.partial import (
    ORIGIN,
    WITH_FILES,
    WITHOUT_FILES,
    can_be_partial,
    commands_to_fetch,
    gives_no_single_files,
    is_partial,
    make_whole,
    missing_files,
)
from deploy_manager.logins import Login
from deploy_manager.logs import mask
from deploy_manager.messages import Message, few
from deploy_manager.refs import is_ref_name

ARCHIVES_KEPT = 5
_IN_USE_FOR = 6 * 3600.0
"""Seconds that an archive is kept after its last use: a deployment may still be sending it."""

_HASH = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BLOB = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64}) blob ([0-9]+)\n")
_NO_FILE = re.compile(
    rb"(?:(?:[0-9a-f]{40}|[0-9a-f]{64}) [a-z]+|dangling|loop|notdir|symlink) ([0-9]+)\n"
)
"""Of a folder, and of a link that leads to no file here; what it leads to follows."""

LARGEST_READ_AHEAD = 256 * 1024
MOST_READ_AHEAD = 50
_KINDS = {
    "branch": _("the branch is %(hash)s"),
    "tag": _("the tag is %(hash)s"),
    "name": _("the name is %(hash)s"),
}
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FORMAT = "%H%x00%an%x00%ct%x00%s"
_LAST_SECOND = 253402300799
"""The end of the year 9999, the last one that `datetime` has."""


@dataclass(frozen=True)
class Commit:
    """One commit, as shown by `git log`."""

    hash: str
    subject: str
    author: str
    committed_at: datetime


class Mirror:
    """A bare clone of one repository's branches and tags, in a folder shared by processes.

    `timeout` is in seconds, for each git command and for the lock of the mirror. `login` is what
    the repository is logged in to with, opened only to fetch; None: what git's account has.

    Of a remote repository it has the files of those commits only that were looked into, and what
    changed since: looking into another one fetches its files. See `partial`.
    """

    def __init__(
        self, repository: str, folder: Path, timeout: float, login: Login | None = None
    ) -> None:
        name = hashlib.sha256(repository.encode()).hexdigest()[:16]
        self._repository = repository
        self._shown = mask(repository.encode()).decode()
        self._folder = folder / f"{name}.git"
        self._archives = folder / f"{name}.archives"
        self._timeout = timeout
        self._login = login
        self._git = Git(self._shown, timeout)
        self._with_files: set[str] = set()
        """Commits whose files are known to be here."""

        self._read: dict[tuple[str, str], bytes | None] = {}
        """What was read ahead, by commit and path."""

        self._listed: dict[str, str] = {}
        """What `git ls-tree` says of a commit's files, with their sizes."""

    def update(self) -> None:
        """Clone the repository, or fetch its changes and drop deleted refs. Raises CodeError.

        Its login is opened here: a process without the key for secrets can't.
        """
        self._update(whole=False)

    def update_for_others(self) -> None:
        """Update, with all files of all commits, for processes that can't fetch them themselves."""
        self._update(whole=True)

    def _update(self, *, whole: bool) -> None:
        if self._repository.startswith("-") or re.match(r"\w+::", self._repository):
            raise CodeError(
                _("%(shown)s is not a repository: enter a URL or an absolute path."),
                shown=repr(self._shown),
            )
        with self._alone() as lock:
            try:
                self._fetch(lock) if self._folder.exists() else self._clone(lock, whole)
                if whole and is_partial(self._folder):
                    self._make_whole(lock)
            except GitError as error:
                raise CodeError(
                    _("%(shown)s can't be reached: %(reason)s"),
                    shown=self._shown,
                    reason=error.reason,
                ) from None

    def resolve(self, ref: str) -> Commit:
        """Return the commit of a branch, a tag or a commit's hash, as of the last update.

        A full hash is always that commit, even if a branch has the same name. Raises CodeError for
        an unknown ref, suggesting similar ones, and for an ambiguous one.
        """
        if not is_ref_name(ref):
            raise CodeError(_("%(ref)s is not a branch, tag or commit."), ref=repr(ref))
        if _WHOLE_HASH.fullmatch(ref):
            found = self._commit_of(ref)
        else:
            found = self._named_commit(ref) or self._abbreviated_commit(ref)
        if not found:
            raise CodeError(
                _("%(shown)s has no branch, tag or commit %(ref)s.%(near)s"),
                shown=self._shown,
                ref=ref,
                near=self._near(ref),
            )
        return self._log("--max-count=1", found)[0]

    def log(self, old: str, new: str, limit: int = 50) -> list[Commit]:
        """Return the commits in `new` that are not in `old`, newest first; blank old: all.

        Raises CodeError if either is unknown.
        """
        spans = [_hash(new), *([f"^{_hash(old)}"] if old else [])]
        return self._log(f"--max-count={limit}", *spans)

    def read_file(self, commit: str, path: str) -> str | None:
        """Return a file of a commit as text; None if there is no such file.

        Symbolic links are followed within the repository.
        """
        content = self.read_bytes(commit, path)
        return None if content is None else content.decode(errors="replace")

    def read_bytes(self, commit: str, path: str) -> bytes | None:
        """Return a file of a commit as bytes; see `read_file`."""
        if "\0" in path:
            return None
        if (commit, path) in self._read:
            return self._read[commit, path]
        self._have_files(_hash(commit))
        # Names end with a new line, or with a NUL by -z, which only git 2.38 and newer know.
        end, words = ("\0", ("-z",)) if "\n" in path else ("\n", ())
        asked = f"{_hash(commit)}:{path}{end}".encode()
        answer = self._run("cat-file", "--batch", "--follow-symlinks", *words, stdin=asked)
        # Else it begins with the name, whose hash a colon follows, or has no hash: git-cat-file(1).
        found = _BLOB.match(answer)
        return answer[found.end() :][: int(found[1])] if found else None

    def read_ahead(self, commit: str, names: Iterable[str], paths: Iterable[str] = ()) -> None:
        """Read files of these names in any folder, and of these paths, with one start of git.

        What is asked for later is there then, unless it is large or there are many. Raises
        CodeError for an unknown commit.
        """
        wanted, exact = set(names), set(paths)
        found = [
            path
            for path, size in _sizes(self._list(commit))
            if (path in exact or path.rpartition("/")[2] in wanted) and size <= LARGEST_READ_AHEAD
        ]
        asked = [*dict.fromkeys([*exact, *found[:MOST_READ_AHEAD]])]
        asked = [path for path in asked if "\n" not in path and "\0" not in path]
        lines = "".join(f"{commit}:{path}\n" for path in asked).encode(errors="replace")
        answer = self._run("cat-file", "--batch", "--follow-symlinks", stdin=lines)
        for path in asked:
            content, answer = _next_file(answer, f"{commit}:{path}".encode(errors="replace"))
            self._read[commit, path] = content

    def has(self, commit: str) -> bool:
        """Whether the mirror has a commit of this whole hash, as of the last update."""
        return self._commit_of(commit) == commit

    def files(self, commit: str) -> list[str]:
        """Return the paths of all files in a commit. Raises CodeError if it is unknown."""
        if commit in self._listed:
            return [path for path, _size in _sizes(self._listed[commit])]
        listed = self._ask("ls-tree", "-r", "-z", "--name-only", "--full-tree", _hash(commit))
        return listed.split("\0")[:-1]

    def _list(self, commit: str) -> str:
        """Return what `git ls-tree -r -l -z` says of a commit, which needs its files."""
        if commit not in self._listed:
            self._have_files(_hash(commit))
            self._listed[commit] = self._ask("ls-tree", "-r", "-l", "-z", "--full-tree", commit)
        return self._listed[commit]

    def find(self, commit: str, name: str) -> list[str]:
        """Return the paths of every file of this name in a commit."""
        return [path for path in self.files(commit) if path.rpartition("/")[2] == name]

    def archive(self, commit: str, max_bytes: int) -> Path:
        """Return a commit's code as a .tar.gz, created once and kept for later deployments.

        Raises CodeError for submodules and files of Git LFS, whose content an archive lacks, and
        for more than `max_bytes` of files.
        """
        refuse_incomplete_archive(commit, self._list(commit), max_bytes)
        target = self._archives / f"{commit}.tar.gz"
        with self._alone() as lock:
            # Touched, since _IN_USE_FOR counts from its last use.
            if target.exists():
                target.touch()
            else:
                self._make_archive(commit, target, lock)
            made = sorted(self._archives.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
            for path in made[:-ARCHIVES_KEPT]:
                if time.time() - path.stat().st_mtime > _IN_USE_FOR:
                    path.unlink(missing_ok=True)
        return target

    def amend(self, base: str, path: str, change: Change, message: str, ref: str) -> str:
        """Commit a changed file on top of `base` under a ref of our own, and return its hash.

        An existing ref is returned as it is. Raises CodeError if `base` or the file does not exist,
        and whatever `change` raises.
        """
        check_own_ref(ref)
        self._have_files(_hash(base))
        with self._alone():
            if not (commit := self._commit_of(ref)):
                commit = amend_file(self._run, _hash(base), path, change, message)
                keep_commit(self._run, commit, ref)
        return commit

    def patch(self, base: str, path: str, change: Change, message: str) -> bytes:
        """Return a changed file as a patch for `git am` and `git apply`; raises as `amend`."""
        self._have_files(_hash(base))
        with self._alone():
            return patch_of(self._run, amend_file(self._run, _hash(base), path, change, message))

    def _have_files(self, commit: str) -> None:
        """Have a commit's files here, the first time that it is looked into. Raises CodeError."""
        if commit in self._with_files:
            return
        if is_partial(self._folder):
            missing = missing_files(self._try, commit)
            if missing is None:
                return
            if missing:
                self._fetch_files(commit, missing)
        self._with_files.add(commit)

    def _fetch_files(self, commit: str, missing: Sequence[str]) -> None:
        with self._alone() as lock:
            try:
                for words in commands_to_fetch(missing):
                    self._log_in_and_run(("--git-dir", str(self._folder), *words), lock)
            except GitError as error:
                if not gives_no_single_files(error):
                    raise self._out_of_reach(commit, error) from None
                try:
                    self._make_whole(lock)
                except GitError as other:
                    raise self._out_of_reach(commit, other) from None

    def _out_of_reach(self, commit: str, error: GitError) -> CodeError:
        return CodeError(
            _(
                "The files of commit %(commit)s are not here yet, and %(shown)s can't be reached:"
                " %(reason)s"
            ),
            commit=commit[:8],
            shown=self._shown,
            reason=error.reason,
        )

    def _clone(self, lock: int, whole: bool) -> None:
        with self._cloned(lock, whole) as beside:
            beside.rename(self._folder)

    def _make_whole(self, lock: int) -> None:
        """Have all files of all commits. The lock of the mirror is held."""
        with self._cloned(lock, whole=True) as beside:
            make_whole(self._folder, beside, self._try)

    @contextmanager
    def _cloned(self, lock: int, whole: bool) -> Iterator[Path]:
        """Clone beside, so that an interrupted clone is never used."""
        beside = self._folder.with_suffix(".part")
        shutil.rmtree(beside, ignore_errors=True)
        filters = () if whole or not can_be_partial(self._repository) else (WITHOUT_FILES,)
        # An empty template: the account's own could bring hooks.
        words = ("clone", "--quiet", "--bare", "--template=", *filters, "--", self._repository)
        try:
            self._log_in_and_run((*words, str(beside)), lock)
            yield beside
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _fetch(self, lock: int) -> None:
        # We hold the mirror's own lock: any *.lock in it was left by a git that was killed. No
        # branch or tag can end in .lock (git-check-ref-format(1)).
        for stale in self._folder.rglob("*.lock"):
            stale.unlink(missing_ok=True)
        options: tuple[str, ...] = ("--quiet", "--prune", "--force")
        # By its URL, not as origin: early versions cloned URLs that had a password in them. A
        # partial one is younger, and git knows by the name that it may lack files.
        source = self._repository
        if is_partial(self._folder):
            options, source = (*options, WITH_FILES), ORIGIN
        # With refspecs, since a bare clone has none configured.
        words = ("fetch", *options, "--", source, *_REFSPECS)
        self._log_in_and_run(("--git-dir", str(self._folder), *words), lock)

    def _log_in_and_run(self, words: Sequence[str], lock: int) -> None:
        # Else what is fetched has the modes of this account's umask.
        shared = self._folder.parent.stat().st_mode & stat.S_ISGID
        modes = ("-c", "core.sharedRepository=0640") if shared else ()
        with logged_in(self._repository, self._login) as access:
            self._git.run(*modes, *words, keep_open=[lock], access=access)

    def _named_commit(self, ref: str) -> str:
        """Return the commit of a branch or tag; `heads/…` and `tags/…` distinguish them."""
        names = {"branch": f"refs/heads/{ref}", "tag": f"refs/tags/{ref}"}
        if ref.startswith(("heads/", "tags/")):
            names["name"] = f"refs/{ref}"
        found = {kind: self._commit_of(name) for kind, name in names.items()}
        commits = {commit for commit in found.values() if commit}
        if len(commits) > 1:
            words = (
                Message(_KINDS[kind], hash=hash_[:8]) for kind, hash_ in found.items() if hash_
            )
            one, other, *_rest = words
            both = Message(_("%(one)s and %(other)s"), one=one, other=other)
            raise CodeError(
                _("%(ref)s is ambiguous: %(both)s. Use heads/%(ref)s, tags/%(ref)s or a commit."),
                ref=ref,
                both=both,
            )
        return commits.pop() if commits else ""

    def _abbreviated_commit(self, ref: str) -> str:
        if not _HASH.fullmatch(ref):
            return ""
        # It names trees and blobs as well: only what is a commit, or a tag of one, is meant.
        objects = self._try("rev-parse", f"--disambiguate={ref}").split()
        commits = {self._commit_of(one) for one in objects} - {""}
        if len(commits) > 1:
            raise CodeError(
                _("%(ref)s is the start of several commits: %(commits)s. Use more digits."),
                ref=ref,
                commits=", ".join(sorted(commits)),
            )
        return commits.pop() if commits else ""

    def _commit_of(self, name: str) -> str:
        return self._try("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()

    def _near(self, ref: str) -> Message:
        form = "--format=%(refname:strip=2)"
        names = self._try("for-each-ref", form, "refs/heads", "refs/tags").split()
        if not names:
            return Message(_(" It is empty: push a branch first."))
        if near := difflib.get_close_matches(ref, names, n=5):
            return Message(_(" Similar ones: %(names)s."), names=", ".join(near))
        return Message(_(" It has %(names)s."), names=few(names, 5))

    def _log(self, *arguments: str) -> list[Commit]:
        printed = self._ask("log", "-z", f"--format={_FORMAT}", *arguments, "--")
        fields = printed.removesuffix("\0").split("\0") if printed else []
        return [
            Commit(hash_, subject, author, _moment(seconds))
            for hash_, author, seconds, subject in zip(*[iter(fields)] * 4, strict=True)
        ]

    def _make_archive(self, commit: str, target: Path, lock: int) -> None:
        target.parent.mkdir(exist_ok=True)
        beside = target.with_suffix(".part")
        words = ("archive", "--format=tar.gz", f"--output={beside}", commit)
        try:
            self._git.run("--git-dir", str(self._folder), *words, keep_open=[lock])
            # Only where an attribute says so: a file may look like a pointer by chance.
            attributes = self.find(commit, ".gitattributes")
            if any("filter=lfs" in (self.read_file(commit, path) or "") for path in attributes):
                refuse_lfs_pointers(commit, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    @property
    def folder(self) -> Path:
        """The bare repository itself, to fetch from."""
        return self._folder

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Lock the mirror against other processes.

        git inherits the lock: if it outlives us, the mirror stays locked until it ends.
        """
        try:
            self._make_room()
            lock = self._folder.with_suffix(".lock").open("w")
        except OSError as error:
            raise CodeError(
                _(
                    "The folder %(parent)s can't be written: %(strerror)s. Set another one in "
                    'DEPLOY_MANAGER["CACHE"].'
                ),
                parent=self._folder.parent,
                strerror=error.strerror,
            ) from None
        deadline = time.monotonic() + self._timeout
        with lock:
            while True:
                # flock has no timeout of its own.
                try:
                    fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise CodeError(
                            _("Another process is still fetching %(shown)s: try again later."),
                            shown=self._shown,
                        ) from None
                    time.sleep(0.05)
            yield lock.fileno()

    def _make_room(self) -> None:
        """Make the folder of mirrors: private, or for the group if the cache has the setgid bit.

        With that bit somebody has set the cache up for two accounts, of which one only reads.
        """
        above = self._folder.parent.parent
        above.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._folder.parent.mkdir(mode=0o700)
            if above.stat().st_mode & stat.S_ISGID:
                # Afterwards, since the umask would take it from what mkdir makes.
                self._folder.parent.chmod(0o2750)

    def _ask(self, command: str, *arguments: str) -> str:
        return self._run(command, *arguments).decode(errors="replace")

    def _try(self, command: str, *arguments: str) -> str:
        """Return git's output; blank if it fails."""
        try:
            return self._ask(command, *arguments)
        except GitError:
            return ""

    def _run(self, command: str, *arguments: str, stdin: bytes = b"") -> bytes:
        return self._git.run("--git-dir", str(self._folder), command, *arguments, stdin=stdin)


def _hash(commit: str) -> str:
    if not _HASH.fullmatch(commit):
        raise CodeError(_("%(commit)s is not a commit."), commit=repr(commit))
    return commit


def _sizes(listed: str) -> Iterator[tuple[str, int]]:
    """Yield path and bytes of each entry of `git ls-tree -r -l -z`; submodules have none."""
    for entry in filter(None, listed.split("\0")):
        facts, _tab, path = entry.partition("\t")
        size = facts.split()[-1]
        yield path, int(size) if size.isdecimal() else 0


def _next_file(answer: bytes, asked: bytes) -> tuple[bytes | None, bytes]:
    """Return what `git cat-file --batch` says of one name, and the rest of its answer."""
    if answer.startswith(missing := asked + b" missing\n"):
        return None, answer[len(missing) :]
    blob = _BLOB.match(answer)
    found = blob or _NO_FILE.match(answer)
    if not found:
        raise ValueError(answer[:200])
    end = found.end() + int(found[1])
    return answer[found.end() : end] if blob else None, answer[end + 1 :]


def _moment(seconds: str) -> datetime:
    """A commit may claim any time; one outside datetime's range becomes the nearest in it."""
    return datetime.fromtimestamp(max(0, min(int(seconds or 0), _LAST_SECOND)), tz=UTC)
