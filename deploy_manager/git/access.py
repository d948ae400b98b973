"""Logging in to a repository, so that no secret is on a command line, in a variable or on disk."""

import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError, ConfigurationError, KeyUnusable, SecretUnreadable
from deploy_manager.logins import KeyLogin, Login, PasswordLogin, explain, in_memory, path_of
from deploy_manager.masking import masking
from deploy_manager.private_keys import read_private_key

NO_PROTOCOL = "none"
"""No command but a fetch reaches a repository: git would go there for each file that is missing."""

_WITH_AGENT = 'ssh-add -q - || exit; "$@" </dev/null; code=$?; kill "$SSH_AGENT_PID"; exit "$code"'
"""Run inside an agent: reads a key from stdin, runs git, and ends the agent.

If all of this is killed, the agent itself notices it within ten seconds.
"""

_IN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Access:
    """How a git command is run to log in: nothing of it is secret but what it reads."""

    name: str = ""
    """The credential's, for messages; blank: what git's account has."""

    protocols: str = NO_PROTOCOL
    """By which code may come, as GIT_ALLOW_PROTOCOL has them: a server may redirect."""

    before: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    ssh_options: tuple[str, ...] = ()
    stdin: bytes = b""
    keep_open: tuple[int, ...] = ()


@contextmanager
def logged_in(repository: str, login: Login | None) -> Iterator[Access]:
    """Open a login for the time of a command. Raises CodeError if it can't be opened here."""
    protocols = protocols_for(repository)
    try:
        if login is None:
            yield Access(protocols=protocols)
        elif isinstance(login, PasswordLogin):
            with _by_password(repository, login, protocols) as access:
                yield access
        else:
            with _by_key(login, protocols) as access:
                yield access
    except (ConfigurationError, SecretUnreadable, KeyUnusable) as error:
        raise CodeError(explain(login.name if login else "", error)) from None


def protocols_for(repository: str) -> str:
    """Return the protocols by which code of a repository may come: never a weaker one."""
    if not _IN_URL.match(repository):
        return "file" if repository.startswith("/") else "ssh"
    scheme = urlsplit(repository).scheme.lower()
    return "http:https" if scheme == "http" else scheme


@contextmanager
def _by_password(repository: str, login: PasswordLogin, protocols: str) -> Iterator[Access]:
    parts = urlsplit(repository)
    if (parts.hostname or "").lower() != login.host:
        raise CodeError(
            _("The credential %(name)s is for %(host)s only."), name=login.name, host=login.host
        )
    password = login.open()
    told = f"username={login.user}\npassword={password.value}\n"
    # A server's reasons may repeat what it was told, also where no deployment masks it: for a page.
    with masking([password]), in_memory(told.encode()) as file:
        # A helper's answer counts for this host alone, also after a redirect. The first line ends
        # the account's own helpers, which could store what they are told.
        helper = f"!cat {shlex.quote(path_of(file))} #"
        place = f"{parts.scheme}://{parts.netloc}"
        yield Access(
            name=login.name,
            protocols=protocols,
            options=("-c", "credential.helper=", "-c", f"credential.{place}.helper={helper}"),
            keep_open=(file.fileno(),),
        )


@contextmanager
def _by_key(login: KeyLogin, protocols: str) -> Iterator[Access]:
    if login.key is None:
        raise CodeError(_("The credential %(name)s has no key."), name=login.name)
    passphrase = login.passphrase.open() if login.passphrase else None
    key = read_private_key(login.key.open(), passphrase)
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        # The public part: it says to ssh which of the agent's keys to use.
        public = Path(folder) / "key.pub"
        public.write_text(f"{key.public_line}\n")
        yield Access(
            name=login.name,
            protocols=protocols,
            before=("ssh-agent", "sh", "-c", _WITH_AGENT, "sh"),
            ssh_options=(
                *("-o", "IdentitiesOnly=yes", "-o", f"IdentityFile={public}"),
                *_host_keys(login.known_hosts, Path(folder)),
            ),
            stdin=key.plain.value.encode(),
        )


def _host_keys(lines: str, folder: Path) -> tuple[str, ...]:
    if not lines.strip():
        return ()
    known = folder / "known_hosts"
    known.write_text(lines.replace("\r\n", "\n").strip() + "\n")
    return (
        *("-o", f"UserKnownHostsFile={known}", "-o", f"GlobalKnownHostsFile={os.devnull}"),
        *("-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"),
    )
