"""Small files of the guard: written beside and renamed, never seen half-written."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

RESERVED_BYTES = 512


def write_json(path: str, value: Any) -> None:
    """Let a file hold this value from one moment to the next. Raises OSError."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "w", opener=private) as file:
            json.dump(value, file)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def reserve(path: str) -> None:
    """Take the room that `write_reserved` needs, while the disk has some. Raises OSError."""
    with open(f"{path}.room", "wb", opener=private) as file:
        file.write(b" " * RESERVED_BYTES)


def write_reserved(path: str, value: Any, lasts: bool = False) -> None:
    """Write a small value into the room reserved for it: on a full disk too.

    One that `lasts` is there after a power cut. Raises OSError.
    """
    with open(f"{path}.room", "r+b", opener=private) as file:
        file.write(json.dumps(value).encode().ljust(RESERVED_BYTES)[:RESERVED_BYTES])
        file.flush()
        if lasts:
            os.fsync(file.fileno())
    os.replace(f"{path}.room", path)


def read_json(path: str) -> Any:
    """Return what a file holds; None where it is not there, or not whole after a power cut."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def private(path: str, flags: int) -> int:
    """Open a file that only this account may read."""
    return os.open(path, flags, 0o600)


def boot_id() -> str:
    """Return what tells one boot of this machine from the next; blank where nothing does."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
