"""Running git so that it asks nobody, runs nothing of a repository's choice, and ends in time."""

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from deploy_manager.exceptions import CodeError
from deploy_manager.logs import mask

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
    """git ended with another code than 0; `reason` is what it said."""

    def __init__(self, repository: str, reason: str) -> None:
        super().__init__(f"{repository} can't be read: {reason}")
        self.reason = reason


class Git:
    """The git command, for one repository.

    `repository` is for messages, masked already; `timeout` is in seconds, for each command.
    """

    def __init__(self, repository: str, timeout: float) -> None:
        self._repository = repository
        self._timeout = timeout

    def run(self, *arguments: str, stdin: bytes = b"", keep_open: Sequence[int] = ()) -> bytes:
        """Return what git prints. `keep_open` are files that stay open as long as it runs.

        Raises GitError, and CodeError where it takes too long or is not installed.
        """
        try:
            exit_code, stdout, stderr = _run(arguments, stdin, keep_open, self._timeout)
        except FileNotFoundError:
            raise CodeError("git is not installed on the worker: apt-get install git.") from None
        except subprocess.TimeoutExpired:
            raise CodeError(
                f"{self._repository} can't be reached: git did not end within {self._timeout:g} s."
                " If it is only large, raise the setting GIT_TIMEOUT."
            ) from None
        if exit_code:
            raise GitError(self._repository, _last_words(stderr))
        return stdout


def _run(
    arguments: Sequence[str], stdin: bytes, keep_open: Sequence[int], timeout: float
) -> tuple[int, bytes, bytes]:
    """Run git in a process group of its own, so that nothing of it outlives a time-out."""
    with subprocess.Popen(
        ["git", *_OPTIONS, *arguments],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=keep_open,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, stdout, stderr


def _environment() -> dict[str, str]:
    """No prompt, no other repository, no protocol that runs a program of the URL's choice."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if name in _KEPT_VARIABLES or not name.startswith(("GIT_", "SSH_ASKPASS"))
    }
    ssh = os.environ.get("GIT_SSH_COMMAND", "ssh")
    return kept | {
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:git:file",
        "GIT_SSH_COMMAND": f"{ssh} -o BatchMode=yes {_PATIENCE}",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
    }


def _last_words(stderr: bytes) -> str:
    """Return the line that says most: where git only heard nothing, what ssh said before."""
    text = mask(stderr).decode(errors="replace")
    lines = ["".join(filter(str.isprintable, line)) for line in text.splitlines() if line.strip()]
    fatal = [n for n, line in enumerate(lines) if line.startswith(("fatal:", "error:"))]
    if not lines:
        return "git gave no reason."
    at = fatal[0] if fatal else len(lines) - 1
    if "dubious ownership" in lines[at]:
        return (
            f"{lines[at]}: another account owns it. As the worker's account, run"
            " git config --global --add safe.directory and that path."
        )
    told = lines[at - 1] if at and "Could not read from remote" in lines[at] else lines[at]
    return _with_help(told)


_WHAT_TO_DO = {
    "Permission denied (": "{who} has no key that it takes: give this account a deploy key"
    " in ~/.ssh, or name one in GIT_SSH_COMMAND.",
    "Host key verification failed": "{who} does not know its host key yet: as this account, connect"
    " once by ssh and compare the key.",
    "could not read Username": "{who} has no password for it: give this account a token"
    " in ~/.netrc or a credential helper of git.",
    "Authentication failed": "{who} has a password for it that is refused: look at ~/.netrc"
    " or the credential helper of this account.",
}
"""What git and ssh say where an account may not read a repository, and what helps."""


def _with_help(told: str) -> str:
    for words, help_text in _WHAT_TO_DO.items():
        if words in told:
            who = f"{_account()} on {socket.gethostname()}"
            return f"{told.rstrip('.')}. {help_text.format(who=who)}"
    return told


def _account() -> str:
    """Whose keys git looks for: several accounts may read, of the worker and of the web server."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as containers have
        return str(os.getuid())
