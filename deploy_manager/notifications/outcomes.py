"""The exit codes of the process that delivers a notification."""

from enum import IntEnum


class Outcome(IntEnum):
    """Without 1 and 2, with which Python itself ends if it cannot run a program."""

    DONE = 0
    UNREADABLE = 3
    REFUSED = 4
