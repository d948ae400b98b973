"""What servers, repositories and indexes are logged in to with, and where each secret of it is.

A login is handed on closed: who holds it can print, compare and send it to nobody. It is opened
where it is used, which only the worker can do.
"""

import os
import re
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError, DeployManagerError, SecretUnreadable
from deploy_manager.logs import mask_text, plain
from deploy_manager.masking import learn
from deploy_manager.messages import Message
from deploy_manager.sealing import MOST_BYTES, Secret

COMMAND_SECONDS = 20.0
"""How long a command may take to print a secret."""

_SHOWN_CHARACTERS = 300
_IN_ONE_LINE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_IN_NETRC = re.compile(r"[\x21-\x7e]+")
_SPECIAL_IN_NETRC = frozenset("\"'\\#")


class SecretSource(Protocol):
    """Where a secret is: `sealing.Sealed`, or one of those below."""

    def open(self) -> Secret:
        """Return the secret. Raises SecretUnreadable, ConfigurationError."""


@dataclass(frozen=True)
class InFile:
    """A secret in a file of the worker."""

    path: str

    def open(self) -> Secret:
        """Return what the file has. Raises SecretUnreadable, also if others may read it."""
        try:
            with Path(self.path).expanduser().open("rb") as file:
                facts = os.fstat(file.fileno())
                content = file.read(MOST_BYTES + 1)
            text = content.decode()
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise SecretUnreadable(
                _("The file %(path)s of the worker can't be read: %(reason)s."),
                path=self.path,
                reason=reason,
            ) from None
        if _has_our_keys(facts):
            raise SecretUnreadable(
                _("%(path)s has the keys for all secrets: no credential may be that file."),
                path=self.path,
            )
        if facts.st_mode & 0o077:
            raise SecretUnreadable(
                _("Others may read the secret in %(path)s: chmod 600 %(path)s"), path=self.path
            )
        return _checked(text, self.path)


def _has_our_keys(facts: os.stat_result) -> bool:
    """Whether a file is that of SECRETS_KEY_FILE, by whatever name.

    As a token it would be sent to a host that whoever may add credentials chooses.
    """
    keys = get_settings().SECRETS_KEY_FILE
    return keys is not None and keys.exists() and os.path.samestat(facts, keys.stat())


@dataclass(frozen=True)
class FromCommand:
    """A secret that a command of SECRET_COMMANDS prints, given one word."""

    name: str
    argument: str

    @property
    def words(self) -> list[str]:
        """The command, as it is run without a shell. Raises ConfigurationError."""
        commands = get_settings().SECRET_COMMANDS
        if self.name not in commands:
            raise ConfigurationError(
                _(
                    "DEPLOY_MANAGER['SECRET_COMMANDS'] of this process has no command %(name)s:"
                    " add it there, or choose one of %(known)s."
                ),
                name=repr(self.name),
                known=", ".join(sorted(commands)) or "-",
            )
        return [word.replace("{}", self.argument) for word in commands[self.name]]

    def open(self) -> Secret:
        """Return what it prints. Raises SecretUnreadable, ConfigurationError."""
        words = self.words
        told = f"{self.name} {self.argument}"
        try:
            code, printed, said = _run(words)
        except OSError as error:
            raise SecretUnreadable(
                _("The command for the secret %(told)s can't be run: %(program)s: %(reason)s."),
                told=told,
                program=words[0],
                reason=error.strerror,
            ) from None
        except subprocess.TimeoutExpired:
            raise SecretUnreadable(
                _("The command for the secret %(told)s did not end within %(seconds)s s."),
                told=told,
                seconds=f"{COMMAND_SECONDS:g}",
            ) from None
        if code:
            raise SecretUnreadable(
                _("The command for the secret %(told)s ended with exit code %(code)d. %(said)s"),
                told=told,
                code=code,
                said=_without(printed, said),
            )
        try:
            text = printed.decode()
        except UnicodeDecodeError:
            text = ""
        return _checked(text, told)


def _run(words: list[str]) -> tuple[int, bytes, bytes]:
    """Run a command in a session of its own, so that nothing of it outlives its time."""
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            printed, said = process.communicate(timeout=COMMAND_SECONDS)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, printed, said


def _without(printed: bytes, said: bytes) -> str:
    """Return the last line of what a command said, unless it has a word of what it printed."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    if any(word in line for word in printed.decode(errors="replace").split()):
        return ""
    return plain(mask_text(line))[:_SHOWN_CHARACTERS]


def _checked(text: str, where: str) -> Secret:
    """Return a secret without the newline at its end, which a file or a command adds.

    Nobody knew it before, and a file may have another one by now: from here on it is masked.
    """
    secret = text.rstrip("\r\n")
    if not secret or len(text.encode()) > MOST_BYTES:
        raise SecretUnreadable(
            _("%(where)s has no secret: it is empty, not text, or has more than %(most)d bytes."),
            where=where,
            most=MOST_BYTES,
        )
    opened = Secret(secret)
    learn(opened)
    return opened


@dataclass(frozen=True)
class KeyLogin:
    """Logging in with a private key, or with what an agent has."""

    name: str
    """As messages name it."""

    key: SecretSource | None = None
    """None: the keys of the worker's agent."""

    passphrase: SecretSource | None = None
    public_key: str = ""
    """Like `ssh-ed25519 AAAA…`; blank if it is known only once the key is opened."""

    certificate: str = ""
    """What an authority signed for this key, as one line; blank: none."""

    known_hosts: str = ""
    """Lines of known_hosts for a git server; blank: those of the worker's account."""


@dataclass(frozen=True)
class PasswordLogin:
    """Logging in with a name and a password or token."""

    name: str
    """As messages name it."""

    user: str
    password: SecretSource
    host: str = ""
    """The only host that it is sent to."""

    def open(self) -> Secret:
        """Return the password, which is one line. Raises SecretUnreadable, ConfigurationError."""
        return self._checked(is_in_netrc=False)

    def netrc(self) -> Secret:
        """Return the login as a line of a netrc file. Raises as `open`."""
        password = self._checked(is_in_netrc=True).value
        return Secret(f"machine {self.host} login {self.user} password {password}\n")

    def _checked(self, *, is_in_netrc: bool) -> Secret:
        secret = self.password.open()
        if problem := problem_of(self.name, self.user, secret, is_in_netrc=is_in_netrc):
            raise SecretUnreadable(problem)
        return secret


def problem_of(name: str, user: str, password: Secret, *, is_in_netrc: bool) -> Message | None:
    """Return why a login can't be used, without a word of it; None: it can."""
    if not _IN_ONE_LINE.fullmatch(password.value):
        return Message(
            _(
                "The password of %(name)s must be one line of ASCII characters, without spaces"
                " around it: enter it again."
            ),
            name=name,
        )
    # Programs read quotes and such signs differently in that file.
    parts = (user, password.value) if is_in_netrc else ()
    if all(_IN_NETRC.fullmatch(each) and not _SPECIAL_IN_NETRC & set(each) for each in parts):
        return None
    return Message(
        _(
            "The user and the password of %(name)s can't have spaces, quotes, # or \\: pip and uv"
            " read them from netrc."
        ),
        name=name,
    )


Login = KeyLogin | PasswordLogin


class Index(str):
    """The URL of a package index, with what it is logged in to with.

    It is handed on and compared as its URL; a URL without a login is a plain text.
    """

    login: PasswordLogin | None = None

    @classmethod
    def with_login(cls, url: str, login: PasswordLogin) -> "Index":
        made = cls(url)
        made.login = login
        return made


def login_of_index(index_url: str) -> PasswordLogin | None:
    """Return what an index is logged in to with; None: what the account has."""
    return index_url.login if isinstance(index_url, Index) else None


def explain(name: str, error: DeployManagerError) -> Message:
    """Return why a credential can't be opened here, naming it."""
    return Message(
        _("The credential %(name)s can't be opened here: %(error)s"),
        error.message.code,
        name=name,
        error=error.message,
    )


def in_memory(content: bytes) -> IO[bytes]:
    """Return an open file with this content, to be closed, that has no name on any disk.

    A process that inherits its descriptor may open it as often as it likes by `path_of`.
    """
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = open(os.memfd_create("deploy_manager"), "w+b")  # noqa: SIM115
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(content)
    file.flush()
    file.seek(0)
    return file


def path_of(file: IO[bytes]) -> str:
    """Return the path by which a process that inherited the file opens it."""
    return f"/dev/fd/{file.fileno()}"
