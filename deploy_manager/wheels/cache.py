"""The cache: files that were fetched or built, by their sha256, and notes of their use."""

import hashlib
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename


@dataclass(frozen=True)
class Kept:
    """A file of the cache."""

    path: Path
    """Its last part is the file's own name, by which installers know what a wheel is."""

    sha256: str
    """Hexadecimal."""

    @property
    def is_wheel(self) -> bool:
        try:
            parse_wheel_filename(self.path.name)
        except InvalidWheelFilename:
            return False
        return True

    @property
    def is_whole(self) -> bool:
        """Whether the file exists and still has the content that its name says."""
        with suppress(OSError):
            facts = self.path.stat()
            return _sha256(self.path, facts.st_size, facts.st_mtime_ns) == self.sha256
        return False


@dataclass(frozen=True)
class Cache:
    """A folder of this machine. It may be deleted at any time: what is missing is made again."""

    folder: Path

    def lock(self, key: str) -> Path:
        """Return the file to lock while making what `key` stands for."""
        return self.folder / "locks" / f"{key}.lock"

    def part(self, key: str) -> Path:
        """Return the path for a file that is not complete yet; the caller holds the lock of `key`.

        It overwrites what a process that died may have left there.
        """
        path = self.folder / "parts" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, part: Path, name: str) -> Kept:
        """Move a complete file into the cache under the sha256 of its content, by one rename."""
        facts = part.stat()
        sha256 = _sha256(part, facts.st_size, facts.st_mtime_ns)
        kept = Kept(self.folder / "files" / sha256 / name, sha256)
        kept.path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(kept.path)  # within one folder, so within one file system
        return kept

    def note(self, key: str, kept: Kept) -> None:
        """Note which file was made for `key`."""
        path = self._note(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside it and renamed: another process never reads half a note.
        beside = path.with_suffix(f".{secrets.token_hex(6)}.part")
        beside.write_text(json.dumps({"name": kept.path.name, "sha256": kept.sha256}))
        beside.replace(path)

    def recall(self, key: str) -> Kept | None:
        """Return the file that was made for `key`; None if there is none, or it was damaged."""
        try:
            noted = json.loads(self._note(key).read_text())
            name, sha256 = str(noted["name"]), str(noted["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        kept = Kept(self.folder / "files" / sha256 / name, sha256)
        return kept if kept.is_whole else None

    def _note(self, key: str) -> Path:
        return self.folder / "notes" / f"{key}.json"


def key_of(*facts: str) -> str:
    """Return a key for what depends on these facts."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def digest_of(path: Path, algorithm: str) -> str:
    """Return a file's digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


# Size and time are part of the key, so that a file which has changed is read again.
@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return digest_of(path, "sha256")
