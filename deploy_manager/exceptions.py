"""What can go wrong, in words that say what to do next."""


class DeployManagerError(Exception):
    """Base of every error this app raises for a reason a person can mend."""


class ConfigurationError(DeployManagerError):
    """A setting is missing or wrong."""


class RequestRefused(DeployManagerError):
    """A deployment was not written: what was asked for cannot run now, or not like this."""


class InvalidRow(RequestRefused):
    """A row holds what no form takes; the message names the row, its fields and what is wrong."""


class TimesUnreadable(RequestRefused):
    """The allowed times of an environment can't be read: nobody knows when it may change."""


class LeftAlone(RequestRefused):
    """An automatic source asked for what only a person may choose: it is left, nothing failed."""


class CodeError(DeployManagerError):
    """The repository can't be reached, or the ref or commit is not what a deployment needs."""


class PinError(DeployManagerError):
    """Requirements that are not a complete set of exact pins."""


class IndexUnreachable(DeployManagerError):
    """A package index gave no facts: it can't be reached, or does not know the package."""


class WheelError(DeployManagerError):
    """The worker has no wheel to send: none fits, none can be had or built, or a hash is wrong."""


class AdvisoriesUnavailable(DeployManagerError):
    """Advisories could not be had, so nothing is known: neither safe nor vulnerable."""


class UnknownRecipe(DeployManagerError):
    """No recipe of this name is registered."""


class RecipeError(DeployManagerError):
    """A recipe stopped on a server for a reason it can tell."""


class CommandFailed(RecipeError):
    """A command on a server ended with an exit code other than 0.

    `exit_code` is the command's own.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CommandTimedOut(RecipeError):
    """A command did not end in its time; it was stopped where that could be seen."""


class Cancelled(DeployManagerError):
    """Somebody asked to cancel; the running command was stopped."""


class HostUnreachable(DeployManagerError):
    """No connection: nothing listens, the host never greets, or it refuses who we are."""


class NoCommands(HostUnreachable):
    """The server lets the account in, but runs nothing for it: what was asked for never began.

    The message has the server's own words.
    """


class ConnectionLost(HostUnreachable):
    """The link died in the middle of a command: whether the command ended well is unknown."""


class HostKeyMismatch(HostUnreachable):
    """The server's host key is not the pinned one, or none is pinned yet.

    Both fingerprints are in the message; no byte of authentication was sent.
    """


class ClaimLost(DeployManagerError):
    """This process no longer holds the deployment: it may write nothing more."""

    def __init__(self) -> None:
        super().__init__("Another process, or a person, ended or took this deployment.")


class HandedOver(DeployManagerError):
    """This process ends: what runs on the server goes on there, and another worker takes it up."""

    def __init__(self) -> None:
        super().__init__("Handed over to another worker.")


class NeverBegun(DeployManagerError):
    """A journal was asked for a command that nobody ever began."""


class ServerBusy(DeployManagerError):
    """Somebody else works on this deploy path; the message says who, on what, since when."""


class NotificationFailed(DeployManagerError):
    """Somebody could not be told; the message names the target, never its address."""
