"""How a process that delivers a notice ends: its exit codes."""

from enum import IntEnum


class Outcome(IntEnum):
    """1 and 2 are what Python itself ends with when it can't run a program."""

    DONE = 0
    UNREADABLE = 3
    REFUSED = 4
