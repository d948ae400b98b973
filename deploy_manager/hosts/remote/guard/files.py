"""The guard's small files: written beside and renamed, so never seen half-written."""

from __future__ import annotations

import os

from .lean import dumps, loads, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESERVED_BYTES = 512


def write_json(path: str, value: Any) -> None:
    """Replace the content of a file atomically. Raises OSError."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "w", opener=private) as file:
            file.write(dumps(value))
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def reserve(path: str) -> None:
    """Reserve the disk space that `write_reserved` needs later. Raises OSError."""
    with open(f"{path}.room", "wb", opener=private) as file:
        file.write(b" " * RESERVED_BYTES)


def write_reserved(path: str, value: Any, lasts: bool = False) -> None:
    """Write a small value into the space reserved for it, which works on a full disk too.

    If it `lasts`, it survives a power cut. Raises OSError.
    """
    with open(f"{path}.room", "r+b", opener=private) as file:
        file.write(dumps(value).encode().ljust(RESERVED_BYTES)[:RESERVED_BYTES])
        file.flush()
        if lasts:
            os.fsync(file.fileno())
    os.replace(f"{path}.room", path)


def read_json(path: str) -> Any:
    """Return the value in a file; None if it is missing, or damaged by a power cut."""
    try:
        with open(path) as file:
            return loads(file.read())
    except (OSError, ValueError):
        return None


def private(path: str, flags: int) -> int:
    """Open a file that only this account may read."""
    return os.open(path, flags, 0o600)


def boot_id() -> str:
    """Return an id of this boot of the machine; blank if there is none (not Linux)."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
