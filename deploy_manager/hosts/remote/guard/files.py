"""Small files of the guard: written beside and renamed, never seen half-written."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any


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
