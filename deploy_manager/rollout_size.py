"""Rollout sizes as people write them, `3` or `25 %`, and the waves they cut servers into."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message

T = TypeVar("T")


class RolloutSize(NamedTuple):
    """A number of servers, or a percentage of all."""

    number: int
    is_percentage: bool = False

    def of(self, total: int) -> int:
        """Return the number of servers, percentages rounded up: 10 % of 3 servers is one server.

        A plain number stays as it is, even if there are fewer servers.
        """
        # Whole numbers round exactly; a float would give one server too many now and then.
        return -(-total * self.number // 100) if self.is_percentage else self.number

    def at_most(self, total: int) -> int:
        """Return the number of servers, percentages rounded down: 10 % of 3 servers is none."""
        return total * self.number // 100 if self.is_percentage else self.number


def parse_rollout_size(text: str) -> RolloutSize:
    """Return the size that a text like `3`, `25%` or `25 %` means.

    Raises ValueError for any other text, and for more than 100 %.
    """
    found = re.fullmatch(r"([0-9]{1,6})\s*(%?)", text.strip())
    if found is None:
        raise ValueError(
            Message(
                _("%(size)s is not a number of servers. Write one like 2, or like 25 %%."),
                size=repr(text),
            )
        )
    size = RolloutSize(int(found[1]), bool(found[2]))
    if size.is_percentage and size.number > 100:
        raise ValueError(
            Message(
                _("%(size)s is more than all servers. Write 100 %% at most."),
                size=repr(text),
            )
        )
    return size


def cut_waves(hosts: Sequence[T], canary: str, batch: str) -> list[list[T]]:
    """Return all hosts in their order, cut into waves: first the canary, then batches.

    A blank canary is none; a blank batch is all others at once. Percentages are of all hosts.
    Raises ValueError for a batch of 0, and for a text that is not a rollout size.
    """
    first = parse_rollout_size(canary).of(len(hosts)) if canary.strip() else 0
    size = len(hosts)
    if batch.strip():
        parsed = parse_rollout_size(batch)
        if parsed.number == 0:
            raise ValueError(
                Message(
                    _("A batch of %(batch)s servers would never finish. Write 1 or more."),
                    batch=repr(batch),
                )
            )
        size = parsed.of(len(hosts))
    starts = range(min(first, len(hosts)), len(hosts), max(size, 1))
    waves = [list(hosts[:first]), *(list(hosts[start : start + size]) for start in starts)]
    return [wave for wave in waves if wave]


def is_too_many(failures: int, total: int, most: str) -> bool:
    """Return whether more than `most` failed; a blank `most` is 0.

    Percentages are rounded down, since this promises how much may be broken at most: if 10 % may
    fail, one of three servers is too many. Raises ValueError for a text that is not a size.
    """
    return failures > (parse_rollout_size(most).at_most(total) if most.strip() else 0)
