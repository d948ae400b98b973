"""What is wrong with credentials, found before anything is reached: for `manage.py check`."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.credentials import login_of
from deploy_manager.exceptions import ConfigurationError, DeployManagerError
from deploy_manager.logins import KeyLogin, explain
from deploy_manager.messages import Message, ngettext
from deploy_manager.models import Credential
from deploy_manager.private_keys import check_user_certificate, read_private_key
from deploy_manager.rotation import keys_in_use, require_one_current_key
from deploy_manager.sealing import current_public_key, private_keys


@dataclass(frozen=True)
class CredentialProblem:
    """A problem, and whether nothing can be logged in to because of it."""

    text: Message
    is_general: bool = False


def opens_secrets() -> bool:
    """Whether this process is meant to open secrets, as a worker is and a web server is not."""
    return get_settings().SECRETS_KEY_FILE is not None


def credential_problems() -> Iterator[CredentialProblem]:
    """Yield what is wrong here: of all secrets first, then of each credential.

    Only a process that has SECRETS_KEY_FILE opens them; a web server is asked whether it can seal.
    Raises DatabaseError.
    """
    rows = list(Credential.objects.all())
    if not opens_secrets():
        if rows or get_settings().SECRETS_PUBLIC_KEY:
            yield from _of_the_public_key()
        return
    general = [*_of_the_key_file()]
    yield from general
    if not general:
        yield from _of_old_keys()
    for row in rows:
        if problem := problem_of(row):
            yield CredentialProblem(problem)


def problem_of(row: Credential) -> Message | None:
    """Return why a credential can't be used by this process; None: it can. It is opened."""
    try:
        login = login_of(row)
        if not isinstance(login, KeyLogin):
            login.open()
        elif login.key is not None:
            passphrase = login.passphrase.open() if login.passphrase else None
            key = read_private_key(login.key.open(), passphrase)
            if login.certificate:
                check_user_certificate(login.certificate, key.public_line)
    except DeployManagerError as error:
        return explain(row.name, error)
    return None


def _of_the_public_key() -> Iterator[CredentialProblem]:
    try:
        current_public_key()
    except ConfigurationError as error:
        yield CredentialProblem(error.message, is_general=True)


def _of_the_key_file() -> Iterator[CredentialProblem]:
    path = get_settings().SECRETS_KEY_FILE
    try:
        private_keys()
        require_one_current_key()
    except ConfigurationError as error:
        yield CredentialProblem(error.message, is_general=True)
    if path is not None and path.exists() and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        yield CredentialProblem(
            Message(_("Others may read SECRETS_KEY_FILE: chmod 600 %(path)s"), path=path),
            is_general=True,
        )


def _of_old_keys() -> Iterator[CredentialProblem]:
    old = sum(use.secrets for use in keys_in_use() if not use.is_current)
    if old:
        yield CredentialProblem(
            ngettext(
                "%(count)d secret is sealed with an older key: run manage.py rotate_secrets.",
                "%(count)d secrets are sealed with an older key: run manage.py rotate_secrets.",
                old,
            )
        )
