"""How the command ends: its exit codes, which are those of `manage.py`, and its errors."""

FAILED = 1
"""Exit code of work that did not succeed everywhere, or of which nobody knows how it ended."""

REFUSED = 2
"""Exit code for wrong usage, and for a request that was refused: nothing was written."""


class ClientError(Exception):
    """Ends the command; its message says what happened, then what to do."""

    exit_code = FAILED
    state = "failed"

    def __init__(self, message: str, *reasons: str) -> None:
        """`reasons` are the codes that the manager gave, as docs/reasons.md lists them."""
        super().__init__(message)
        self.reasons = reasons


class Refused(ClientError):
    """Nothing was written: wrong usage, or the manager refuses it."""

    exit_code = REFUSED
    state = "refused"


class NotFound(Refused):
    """There is no such thing, or this token may not see it: the manager does not tell which."""


class Unreachable(ClientError):
    """The manager did not answer in time: whether it got a request may be unknown."""
