"""A mirror without the files of old commits: which ones are missing, and how they are fetched.

The first clone brings all commits and the names of their files, and no file. Those of a commit are
fetched at once when it is first looked into. Later fetches bring the files that changed with the
commits that changed them, in one round trip. A server that filters nothing sends all of it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy_manager.git.command import GitError

WITHOUT_FILES = "--filter=blob:none"
WITH_FILES = "--filter=blob:limit=1000g"
"""Filters none: a pack that came through a filter may lack what older commits have."""

ORIGIN = "origin"
_AT_ONCE = 20_000
"""Files that are asked for in one command: a line may have 2 MB, and a hash up to 64 letters."""

_FETCH_FILES = (
    *("-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags"),
    *("--no-write-fetch-head", "--recurse-submodules=no", WITHOUT_FILES, ORIGIN),
)
_REFUSALS = ("unadvertised object", "not our ref")
"""What servers say that give no single files, by their own settings or an old protocol."""

_PROMISOR = re.compile(r"^\s*promisor\s*=\s*true\s*$", re.MULTILINE)

Try = Callable[..., str]
"""Runs git in one mirror and returns what it prints; blank if it fails."""


def can_be_partial(repository: str) -> bool:
    """Whether a clone may leave files out: one of a folder of this machine links them all."""
    return not repository.startswith("/")


def is_partial(mirror: Path) -> bool:
    """Whether a mirror may lack files. Its configuration is git's and our own: no start of git."""
    try:
        return _PROMISOR.search((mirror / "config").read_text(errors="replace")) is not None
    except OSError:
        return False


def missing_files(try_git: Try, commit: str) -> list[str] | None:
    """Return the hashes of a commit's files that the mirror lacks; None for an unknown commit."""
    words = ("rev-list", "--objects", "--no-object-names", "--missing=print", "--no-walk")
    lines = try_git(*words, commit, "--").splitlines()
    return [line[1:] for line in lines if line.startswith("?")] if lines else None


def commands_to_fetch(files: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the words of git that fetch files by their hashes, in parts."""
    for first in range(0, len(files), _AT_ONCE):
        yield (*_FETCH_FILES, *files[first : first + _AT_ONCE])


def gives_no_single_files(error: GitError) -> bool:
    return any(words in str(error.reason) for words in _REFUSALS)


def make_whole(mirror: Path, whole: Path, try_git: Try) -> None:
    """Give a mirror all that a whole clone has; its refs and our own commits stay."""
    packs = whole / "objects/pack"
    # git knows a pack by its index, so that comes last.
    for file in sorted(packs.glob("pack-*"), key=lambda path: path.suffix == ".idx"):
        file.replace(mirror / "objects/pack" / file.name)
    for name in (f"remote.{ORIGIN}.partialclonefilter", "extensions.partialclone"):
        try_git("config", "--unset-all", name)
    # Last: until then it is a partial one, and is made whole again.
    try_git("config", "--unset-all", f"remote.{ORIGIN}.promisor")
