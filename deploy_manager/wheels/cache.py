"""Files that were fetched or built, by their sha256, and notes of which was taken for what."""

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
    """Its last part is the file's own name."""

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
        """Whether the file is there, and has the content it was kept by."""
        with suppress(OSError):
            facts = self.path.stat()
            return _sha256(self.path, facts.st_size, facts.st_mtime_ns) == self.sha256
        return False


@dataclass(frozen=True)
class Cache:
    """A folder of this machine. It may be removed at any time: what is missing is had again."""

    folder: Path

    def lock(self, key: str) -> Path:
        """Return the file that whoever makes what `key` names holds a lock on."""
        return self.folder / "locks" / f"{key}.lock"

    def part(self, key: str) -> Path:
        """Return where a file may be written that is not whole yet, by who holds the lock of `key`.

        What a process that died left there is written over.
        """
        path = self.folder / "parts" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, part: Path, name: str) -> Kept:
        """Take a file in under the sha256 of its content, by one rename."""
        facts = part.stat()
        sha256 = _sha256(part, facts.st_size, facts.st_mtime_ns)
        kept = Kept(self.folder / "files" / sha256 / name, sha256)
        kept.path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(kept.path)
        return kept

    def note(self, key: str, kept: Kept) -> None:
        """Write which file was taken for what `key` names."""
        path = self._note(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{secrets.token_hex(6)}.part")
        beside.write_text(json.dumps({"name": kept.path.name, "sha256": kept.sha256}))
        beside.replace(path)

    def recall(self, key: str) -> Kept | None:
        """Return the file that was taken; None where none was, or it is not whole any more."""
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
    """Return a name for what these facts decide."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()


def digest_of(path: Path, algorithm: str) -> str:
    """Return a file's digest, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Computed anew for a file that has changed."""
    return digest_of(path, "sha256")
