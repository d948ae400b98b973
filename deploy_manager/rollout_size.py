"""Numbers of servers as people write them: 3, or 25 % of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class RolloutSize:
    """A number, or a percentage of a whole."""

    number: int
    is_percentage: bool = False

    def of(self, total: int) -> int:
        """Return how many that is, percentages rounded up: 10 % of 3 servers is one server.

        A plain number is itself, even where it is more than there are.
        """
        return -(-total * self.number // 100) if self.is_percentage else self.number

    def at_most(self, total: int) -> int:
        """Return how many that is, percentages rounded down: 10 % of 3 servers is none."""
        return total * self.number // 100 if self.is_percentage else self.number


def parse_rollout_size(text: str) -> RolloutSize:
    """Return what a text like `3`, `25%` or `25 %` means.

    Raises ValueError for anything else, and for more than 100 %.
    """
    found = re.fullmatch(r"([0-9]{1,6})\s*(%?)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no number of servers. Write one like 2, or like 25 %.")
    size = RolloutSize(int(found[1]), bool(found[2]))
    if size.is_percentage and size.number > 100:
        raise ValueError(f"{text!r} is more than all servers. Write 100 % at most.")
    return size


def cut_waves(hosts: Sequence[T], canary: str, batch: str) -> list[list[T]]:
    """Return all hosts in their order, cut in waves: first the canary, then batches.

    A blank canary is none; a blank batch is all the rest at once. Percentages are of all hosts.
    Raises ValueError for a batch of 0, and for what is no share.
    """
    first = parse_rollout_size(canary).of(len(hosts)) if canary.strip() else 0
    size = _size_of_a_batch(batch, len(hosts)) if batch.strip() else len(hosts)
    starts = range(min(first, len(hosts)), len(hosts), max(size, 1))
    waves = [list(hosts[:first]), *(list(hosts[start : start + size]) for start in starts)]
    return [wave for wave in waves if wave]


def is_too_many(failures: int, total: int, most: str) -> bool:
    """Whether more than `most` of them failed; a blank `most` is 0. Raises ValueError for no share.

    Percentages are rounded down here. It is a promise how much may be broken at most: when 10 %
    may fail, one of three servers, a third of them, is too many.
    """
    return failures > (parse_rollout_size(most).at_most(total) if most.strip() else 0)


def _size_of_a_batch(batch: str, total: int) -> int:
    size = parse_rollout_size(batch)
    if size.number == 0:
        raise ValueError(
            f"A batch of {batch!r} servers would never come to an end. Write 1 or more."
        )
    return size.of(total)
