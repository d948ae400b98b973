"""What an inventory says: the servers that it has, and the entries that can't be taken."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.messages import Message

MOST_ENTRIES = 10_000
"""Servers in one inventory."""

T = TypeVar("T")


@dataclass(frozen=True)
class FoundServer:
    """A server as a file has it. What the file does not say is blank or None."""

    name: str
    address: str = ""
    port: int | None = None
    user: str = ""
    gateway: str | None = None
    """A name, or hops as ssh's -J takes them: `ann@gate:22,ann@inner`; blank: explicitly none."""

    connection: str = ""
    """`ssh` or `local`."""

    groups: tuple[str, ...] = ()
    where: Message = field(default_factory=Message, compare=False)
    """The place in the file, like `line 3`."""


@dataclass(frozen=True)
class LeftOut:
    """An entry that can't be taken, and why."""

    where: Message
    reason: Message

    def __str__(self) -> str:
        return str(Message("%(where)s: %(why)s", where=self.where, why=self.reason))


@dataclass(frozen=True)
class Inventory:
    """All that one file says."""

    servers: tuple[FoundServer, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    format: str = ""
    """The name of its format; see `formats.py`."""


def take_each(
    entries: Iterable[tuple[Message, T]],
    read: Callable[[T], FoundServer],
    left_out: Iterable[LeftOut] = (),
) -> Inventory:
    """Read each entry, given with its place; a bad one is left out and stops no other.

    Raises InventoryError if there are too many.
    """
    servers: list[FoundServer] = []
    without = list(left_out)
    for number, (where, entry) in enumerate(entries):
        if number >= MOST_ENTRIES:
            raise InventoryError(
                _("The file has more than %(most)s entries: split it."), most=MOST_ENTRIES
            )
        try:
            servers.append(replace(read(entry), where=where))
        except InventoryError as error:
            without.append(LeftOut(where, error.message))
    return Inventory(tuple(servers), tuple(without))


def at_line(number: int) -> Message:
    return Message(_("line %(number)s"), number=number)


def at_entry(number: int, name: str = "") -> Message:
    """Return the place of an entry of JSON, with its name if it has one."""
    if name:
        return Message(_("entry %(number)s (%(name)s)"), number=number, name=name)
    return Message(_("entry %(number)s"), number=number)
