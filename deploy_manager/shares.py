"""Numbers of servers as people write them: 3, or 25 % of them."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """A number, or a percentage of a whole."""

    number: int
    is_percentage: bool = False

    def of(self, total: int) -> int:
        """Return how many that is, rounded up: 10 % of 3 servers is one server."""
        return math.ceil(self._exactly(total))

    def at_most(self, total: int) -> int:
        """Return how many that is, rounded down: 10 % of 3 servers may not fail."""
        return math.floor(self._exactly(total))

    def _exactly(self, total: int) -> float:
        return total * self.number / 100 if self.is_percentage else self.number


def parse_share(text: str) -> Share:
    """Return what a text like `3`, `25%` or `25 %` means. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6})\s*(%?)", text.strip(), re.ASCII)
    if found is None or (found[2] and int(found[1]) > 100):
        raise ValueError(f"{text!r} is no number of servers: write one like 2, or like 25 %.")
    return Share(int(found[1]), bool(found[2]))


def cut_waves(hosts: Sequence[T], canary: str, batch: str) -> list[list[T]]:
    """Return hosts in waves: first the canary, then batches; blank: none, and all the rest.

    Raises ValueError for a batch of none.
    """
    first = parse_share(canary).of(len(hosts)) if canary else 0
    size = parse_share(batch).of(len(hosts)) if batch else len(hosts)
    if hosts and size == 0:
        raise ValueError("A wave of no servers would never come to an end: write 1 or more.")
    rest = range(min(first, len(hosts)), len(hosts), size or 1)
    waves = [list(hosts[:first]), *(list(hosts[start : start + size]) for start in rest)]
    return [wave for wave in waves if wave]


def is_too_many(failures: int, total: int, most: str) -> bool:
    """Whether more failed than may. Percentages are rounded down: in doubt it stops."""
    return failures > parse_share(most or "0").at_most(total)
