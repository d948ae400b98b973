"""Hanging up, where the other end may have done so before."""

import contextlib
from collections.abc import Iterator
from typing import Protocol, TypeVar

import paramiko


class Closable(Protocol):
    def close(self) -> object:
        """Let go of it."""


Open = TypeVar("Open", bound=Closable)


def hang_up(end: Closable) -> None:
    """Close a connection or a channel. paramiko tries to say so to a peer that may be gone."""
    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
        end.close()


@contextlib.contextmanager
def hung_up(end: Open) -> Iterator[Open]:
    """Have it closed after the block, whatever happened in it."""
    try:
        yield end
    finally:
        hang_up(end)
