"""The exceptions of this app. Their messages say what happened, then what to do."""

import copyreg
import re
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message


class DeployManagerError(Exception):
    """Base of every error that a person can correct: an English template, and what belongs in it.

    It is raised with a text for translation and keeps that as a `message` with the reason `code`,
    so that it can be read in any language later. A message is taken as it is.
    """

    code = "error"
    """Its reason; derived from the name of the class if that gives none."""

    message: Message

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(
        self, text: "str | Promise | Message" = "", code: str = "", /, **params: object
    ) -> None:
        super().__init__(text)
        message = Message(text, code or self.code, **params)
        self.message = message if message.code else message.with_code(self.code)

    def __str__(self) -> str:
        return str(self.message)

    def __reduce__(self) -> Any:
        # Not by calling the class: it would be asked for its parameters again.
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


class ConfigurationError(DeployManagerError):
    """A setting is missing or wrong."""


class SecretUnreadable(DeployManagerError):
    """A secret can't be opened here: its key is missing, or the value is damaged."""


class KeyUnusable(DeployManagerError):
    """A private key, its passphrase or its certificate can't be used; the message has none."""


class RequestRefused(DeployManagerError):
    """A request was refused before anything was written: it cannot run now, or not like this."""


class InvalidRow(RequestRefused):
    """A row holds a value that no form accepts; the message names the row, the fields and why."""


class WebhookFailed(DeployManagerError):
    """A message to an outgoing webhook did not arrive; the text has no secret and no address."""


class TimesUnreadable(RequestRefused):
    """The allowed times of an environment can't be read: it is unknown when it may change."""


class PlanChanged(RequestRefused):
    """What was confirmed would not be what runs: the message names what was changed since."""


class Paused(DeployManagerError):
    """A schedule or a policy does nothing until a person sees to it; the message says why."""


class LeftAlone(RequestRefused):
    """An automatic source requested what only a person may choose: skipped, not failed."""


class CodeError(DeployManagerError):
    """The repository can't be reached, or the ref or commit is not what a deployment needs."""


class PinError(DeployManagerError):
    """Requirements that are not a complete set of exact pins, or do not suit the servers."""


class IndexUnreachable(DeployManagerError):
    """A package index gave no facts: it can't be reached, or does not know the package."""


class WheelError(DeployManagerError):
    """The worker has no wheel to send: none fits, can be fetched or built, or a hash is wrong."""


class AdvisoriesUnavailable(DeployManagerError):
    """Advisories could not be fetched, so nothing is known: neither safe nor vulnerable."""


class InventoryError(DeployManagerError):
    """A file of another tool, or an entry of it, that no server can be read from."""


class UnknownRecipe(DeployManagerError):
    """No recipe of this name is registered."""


class RecipeError(DeployManagerError):
    """A recipe stopped on a server; the message is its own reason."""


class CommandFailed(RecipeError):
    """A command on a server ended with an exit code other than 0.

    `exit_code` is the command's own.
    """

    def __init__(
        self, text: "str | Promise | Message", /, exit_code: int, **params: object
    ) -> None:
        super().__init__(text, self.code, **params)
        self.exit_code = exit_code


class CommandTimedOut(RecipeError):
    """A command did not end in time; it was stopped if the server could still be reached."""


class Cancelled(DeployManagerError):
    """The deployment was cancelled; the running command was stopped."""


class HostUnreachable(DeployManagerError):
    """No connection: nothing listens, the host sends no greeting, or it refuses the login."""


class NoCommands(HostUnreachable):
    """The login succeeds, but the server runs no command for the account: nothing has begun.

    The message contains the server's own output.
    """


class ConnectionLost(HostUnreachable):
    """The connection died during a command: whether the command succeeded is unknown."""


class HostKeyMismatch(HostUnreachable):
    """The server's host key is not the pinned one, or none is pinned yet.

    Both fingerprints are in the message; no byte of authentication was sent.
    """


class ClaimLost(DeployManagerError):
    """This process has lost its claim on the deployment: it may write nothing more."""

    def __init__(self) -> None:
        super().__init__(_("Another process, or a person, ended or took this deployment."))


class HandedOver(DeployManagerError):
    """This process ends. The command goes on on the server; another worker takes it over."""

    def __init__(self) -> None:
        super().__init__(_("Handed over to another worker."))


class NeverBegun(DeployManagerError):
    """A journal was read for a command that was never started."""


class ServerBusy(DeployManagerError):
    """Another deployment uses this deploy path; the message says whose, which and since when."""


class NotificationFailed(DeployManagerError):
    """A notification was not delivered; the message names the target, never its URL."""
