"""What the guard needs of Python's library, without what takes long to import.

A guard is started on every server of a deployment: socket, json, subprocess, selectors, hashlib and
contextlib import enum, re, typing and threading, which takes longer than what a short deployment
asks of it. Their parts in C are there at once; an interpreter without them uses the library.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    import locale
    import signal
    from collections.abc import Callable
    from socket import AF_UNIX, SHUT_RDWR, socket
    from typing import Any

    def sha256(data: bytes) -> Any: ...
else:
    import _locale as locale
    import _signal as signal

    try:
        from _socket import AF_UNIX, SHUT_RDWR, socket
    except ImportError:
        from socket import AF_UNIX, SHUT_RDWR, socket
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["AF_UNIX", "SHUT_RDWR", "locale", "sha256", "signal", "socket"]


class suppress:  # noqa: N801  as in contextlib
    """As in contextlib."""

    def __init__(self, *errors: type[BaseException]) -> None:
        self._errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> bool:
        return kind is not None and issubclass(kind, self._errors)


def accepted(listener: socket) -> socket:
    """Return the connection of the next client. Raises OSError."""
    if not hasattr(listener, "_accept"):
        return listener.accept()[0]
    return socket(fileno=listener._accept()[0])


def pair() -> tuple[int, int]:
    """Return the two ends of a pipe that block nobody."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


class _Reading:
    """What the scanner of json.decoder asks of a decoder."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name.replace("Infinity", "inf"))


def _unknown(value: object) -> object:
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    _scan: Any = make_scanner(_Reading())  # type: ignore[arg-type]
    _encode: Any = make_encoder(
        None, _unknown, encode_basestring_ascii, None, ": ", ", ", False, False, True
    )
    _encode({"": [0, None, True]}, 0)
except (ImportError, TypeError, AttributeError):
    _scan = _encode = None


def loads(text: bytes | str) -> Any:
    """Return the value of a JSON text. Raises ValueError."""
    if isinstance(text, bytes):
        text = text.decode()
    if _scan is not None:
        text = text.strip()
        try:
            value, end = _scan(text, 0)
        except StopIteration:
            raise ValueError("not JSON") from None
        if end != len(text):
            raise ValueError("more than one JSON value")
        return value
    import json

    return json.loads(text)


def dumps(value: Any) -> str:
    """Return a value as JSON."""
    if _encode is not None:
        return "".join(_encode(value, 0))
    import json

    return json.dumps(value)


class Poll:
    """Files that are waited for, each with what is done when it is ready; as in selectors."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._waited: dict[int, tuple[Any, Callable[[Any], object], int]] = {}

    def register(self, file: Any, act: Callable[[Any], object], writes: bool = False) -> None:
        number = _number(file)
        events = select.POLLIN | (select.POLLOUT if writes else 0)
        self._poll.register(number, events)
        self._waited[number] = file, act, events

    def unregister(self, file: Any) -> None:
        number = _number(file)
        del self._waited[number]
        self._poll.unregister(number)

    def wait(self, seconds: float) -> None:
        """Do what is to be done for each file that is ready, once one is, or the time is over."""
        for number, _events in self._poll.poll(seconds * 1000):
            # What was done for one before it may have ended the waiting for this one.
            if number in self._waited:
                file, act, _wanted = self._waited[number]
                act(file)


def _number(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def remove_tree(path: str) -> None:
    """Remove a folder with all that is in it, as far as that is possible, if it is there."""
    if os.path.lexists(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)


def random_name(size: int) -> str:
    return os.urandom(size).hex()
