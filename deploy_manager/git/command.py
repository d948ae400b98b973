"""Running git without prompts, without code of the repository, and with a time limit."""

import os
import pwd
import shlex
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError
from deploy_manager.git.access import Access
from deploy_manager.logs import mask
from deploy_manager.messages import Message

# Detached maintenance would outlive the mirror's lock; signatures would be checked with gpg. Of a
# server that sends nothing git would wait for the whole time limit.
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "gc.autoDetach": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "log.showSignature": "false",
    "maintenance.autoDetach": "false",
}
_OPTIONS = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
_KEPT_VARIABLES = (
    "GIT_ASKPASS",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_SSL_CAINFO",
)
_PATIENCE = "-o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=3"


class GitError(CodeError):
    """git failed; `reason` is its own message."""

    code = CodeError.code

    def __init__(self, repository: str, reason: Message) -> None:
        super().__init__(
            _("%(repository)s can't be read: %(reason)s"), repository=repository, reason=reason
        )
        self.reason = reason


class Git:
    """The git command, for one repository.

    `repository` is for messages, already masked; `timeout` is in seconds, for each command.
    """

    def __init__(self, repository: str, timeout: float) -> None:
        self._repository = repository
        self._timeout = timeout

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        keep_open: Sequence[int] = (),
        access: Access | None = None,
    ) -> bytes:
        """Return git's output. `keep_open` are file descriptors that stay open while it runs.

        `access` is what the repository is logged in to with; it takes stdin's place. Raises
        GitError, and CodeError if it takes too long or is not installed.
        """
        access = access or Access()
        try:
            exit_code, stdout, stderr = _run(
                [*access.before, "git", *_OPTIONS, *access.options, *arguments],
                _environment(access),
                access.stdin or stdin,
                [*keep_open, *access.keep_open],
                self._timeout,
            )
        except FileNotFoundError as error:
            program = error.filename or "git"
            raise CodeError(
                _("%(program)s is not installed on the worker: install it, as with apt-get."),
                program=program,
            ) from None
        except subprocess.TimeoutExpired:
            raise CodeError(
                _(
                    "%(repository)s can't be reached: git did not end within %(timeout)s s. If "
                    "the repository is large, raise the setting GIT_TIMEOUT."
                ),
                repository=self._repository,
                timeout=f"{self._timeout:g}",
            ) from None
        if exit_code:
            raise GitError(self._repository, _last_words(stderr, access))
        return stdout


def _run(
    words: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes,
    keep_open: Sequence[int],
    timeout: float,
) -> tuple[int, bytes, bytes]:
    """Run git in a process group of its own, so that its helpers do not outlive a timeout."""
    with subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=keep_open,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException:
            # git-remote-https and ssh are processes of their own, and hold our pipes open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, stdout, stderr


def _environment(access: Access) -> dict[str, str]:
    """Return an environment without prompts, other repositories, or protocols like ext::."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if name in _KEPT_VARIABLES or not name.startswith(("GIT_", "SSH_ASKPASS"))
    }
    ssh = os.environ.get("GIT_SSH_COMMAND", "ssh")
    return kept | {
        "GIT_ALLOW_PROTOCOL": access.protocols,
        "GIT_SSH_COMMAND": " ".join(
            [ssh, "-o BatchMode=yes", _PATIENCE, *map(shlex.quote, access.ssh_options)]
        ),
        "GIT_TERMINAL_PROMPT": "0",
        # What git and ssh say is recognised by its English words: see _WHAT_TO_DO.
        "LC_ALL": "C.UTF-8",
    }


def _last_words(stderr: bytes, access: Access) -> Message:
    """Return the most telling line of git's output: its error, or the reason that ssh gave."""
    text = mask(stderr).decode(errors="replace")
    lines = ["".join(filter(str.isprintable, line)) for line in text.splitlines() if line.strip()]
    fatal = [n for n, line in enumerate(lines) if line.startswith(("fatal:", "error:"))]
    if not lines:
        return Message(_("git gave no reason."))
    at = fatal[0] if fatal else len(lines) - 1
    if "dubious ownership" in lines[at]:
        return Message(
            _(
                "%(line)s: another account owns it. As the worker's account, run"
                " git config --global --add safe.directory and that path."
            ),
            line=lines[at],
        )
    line = lines[at - 1] if at and "Could not read from remote" in lines[at] else lines[at]
    return _with_help(line, access.name)


_WHAT_TO_DO = {
    "Permission denied (": _(
        "%(line)s %(who)s has no accepted key: add a git credential with a deploy key in the admin,"
        " or give this account a deploy key in ~/.ssh."
    ),
    "Host key verification failed": _(
        "%(line)s %(who)s does not know its host key yet: enter it in the git credential; or as"
        " this account, connect once by ssh and compare the key."
    ),
    "could not read Username": _(
        "%(line)s %(who)s has no password for it: add a git credential with a token in the admin,"
        " or give this account a token in ~/.netrc or a credential helper of git."
    ),
    "Authentication failed": _(
        "%(line)s %(who)s has a password for it that is refused: check ~/.netrc or the credential"
        " helper of this account."
    ),
}
"""Messages of git and ssh when an account may not read a repository, and what to do."""

_WITH_A_CREDENTIAL = {
    "Permission denied (": _(
        "%(line)s The key of the credential %(name)s is not accepted: add its public part to the"
        " repository's deploy keys."
    ),
    "Host key verification failed": _(
        "%(line)s Its host key is not one that the credential %(name)s names, or none is known:"
        " compare the key, and enter it there."
    ),
    "could not read Username": _(
        "%(line)s The user or token of the credential %(name)s is refused: enter another one."
    ),
    "Authentication failed": _(
        "%(line)s The user or token of the credential %(name)s is refused: enter another one."
    ),
}
"""The same where a credential was used."""


def _with_help(line: str, credential: str) -> Message:
    if credential:
        told = [text for words, text in _WITH_A_CREDENTIAL.items() if words in line]
        return (
            Message(told[0], line=f"{line.rstrip('.')}.", name=credential)
            if told
            else Message(line)
        )
    for words, help_text in _WHAT_TO_DO.items():
        if words in line:
            try:
                account = pwd.getpwuid(os.getuid()).pw_name
            except KeyError:  # an account without a name, as in containers
                account = str(os.getuid())
            # Worker and web server may run as different accounts, each with keys of its own.
            who = Message(
                _("%(account)s on %(machine)s"), account=account, machine=socket.gethostname()
            )
            return Message(help_text, line=f"{line.rstrip('.')}.", who=who)
    return Message(line)
