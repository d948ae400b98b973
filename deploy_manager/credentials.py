"""Credentials as rows, and the logins that are handed on: the most particular one counts."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import InvalidRow
from deploy_manager.logins import (
    FromCommand,
    Index,
    InFile,
    KeyLogin,
    PasswordLogin,
    SecretSource,
)
from deploy_manager.models import Credential, Environment, Project, Server
from deploy_manager.row_checks import check_credential
from deploy_manager.sealing import Sealed

Kind = Credential.Kind


@dataclass(frozen=True)
class Known:
    """Credentials for servers that were read already: many servers are asked about at once."""

    rows: tuple[Credential, ...]

    @classmethod
    def load(cls) -> "Known":
        return cls(tuple(Credential.objects.filter(kind__in=Credential.OF_SERVERS)))

    @classmethod
    def of(cls, server: Server, environment: Environment | None) -> "Known":
        project = environment.project if environment else None
        found = Credential.objects.for_places(server, environment, project)
        return cls(tuple(found.filter(kind__in=Credential.OF_SERVERS)))

    def find(self, kind: str, server: Server, environment: Environment | None) -> Credential | None:
        """Return the credential of a kind that counts on a server. Raises InvalidRow."""
        site = environment.pk if environment else None
        project = environment.project_id if environment else None
        return most_particular(
            row
            for row in self.rows
            if row.kind == kind
            and row.server_id in (None, server.pk)
            and row.environment_id in (None, site)
            and row.project_id in (None, project)
        )


def key_login(
    known: Known, server: Server, environment: Environment | None, *, as_bootstrap: bool = False
) -> KeyLogin | None:
    """Return what a server is logged in to with; None: what settings name. Raises InvalidRow."""
    kind = Kind.BOOTSTRAP if as_bootstrap else Kind.LOGIN
    found = known.find(kind, server, environment)
    return _as_key(found) if found else None


def sudo_login(
    known: Known, server: Server, environment: Environment, user: str
) -> PasswordLogin | None:
    """Return the password by which an account becomes root; None: it needs none."""
    found = known.find(Kind.SUDO, server, environment)
    return PasswordLogin(found.name, user, source_of(found)) if found else None


def git_login(project: Project) -> KeyLogin | PasswordLogin | None:
    """Return what a project's repository is logged in to with; None: what git's account has.

    Raises InvalidRow.
    """
    scheme, host = _place_of(project.repository)
    if scheme not in ("ssh", "https", "http"):
        return None
    kind = Kind.GIT_KEY if scheme == "ssh" else Kind.GIT_TOKEN
    found = Credential.objects.for_places(project=project).filter(kind=kind)
    row = most_particular(each for each in found if each.host.lower() == host)
    if row is None:
        return None
    return _as_key(row) if row.is_key else _as_password(row)


def index_login(environment: Environment) -> PasswordLogin | None:
    """Return what an environment's package index is logged in to with. Raises InvalidRow."""
    scheme, host = _place_of(environment.index_url)
    if scheme not in ("https", "http"):
        return None
    found = Credential.objects.for_places(None, environment, environment.project)
    rows = found.filter(kind=Kind.INDEX)
    row = most_particular(each for each in rows if each.host.lower() == host)
    if row is None:
        return None
    # Whoever may enter the index's URL may not have the password sent for all on the way to read.
    if scheme == "http" and not _is_safe_unencrypted(host):
        raise InvalidRow(
            _(
                "%(index)s is not encrypted, so the password of %(name)s is not sent there. Use"
                " https://, or name the host %(host)s in DEPLOY_MANAGER['INSECURE_REPOSITORIES']."
            ),
            index=environment.index_url,
            name=row.name,
            host=host,
        )
    return _as_password(row)


def _is_safe_unencrypted(host: str) -> bool:
    try:
        is_here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        is_here = False
    return is_here or host in {each.lower() for each in get_settings().INSECURE_REPOSITORIES}


def index_of(environment: Environment) -> str:
    """Return an environment's package index, with its login if it has one. Raises InvalidRow."""
    login = index_login(environment)
    return Index.with_login(environment.index_url, login) if login else environment.index_url


def index_at(index_url: str) -> str:
    """Return a package index with the login of an environment that uses it. Raises InvalidRow.

    For facts of its packages, which are the same for all of them.
    """
    if index_url and Credential.objects.filter(kind=Kind.INDEX).exists():
        sites = Environment.objects.filter(index_url=index_url).select_related("project")
        for environment in sites.order_by("pk"):
            if login := index_login(environment):
                return Index.with_login(index_url, login)
    return index_url


def most_particular(rows: Iterable[Credential]) -> Credential | None:
    """Return the one with the narrowest place, checked again. Raises InvalidRow."""
    found = max(rows, key=lambda row: row.particularity, default=None)
    if found is not None:
        check_credential(found)
    return found


def source_of(credential: Credential) -> SecretSource:
    """Return where the secret of a credential is, which was checked."""
    if credential.source == Credential.Source.FILE:
        return InFile(credential.reference)
    if credential.source == Credential.Source.COMMAND:
        return FromCommand(credential.command, credential.reference)
    return credential.sealed or Sealed.stored("")


def login_of(credential: Credential) -> KeyLogin | PasswordLogin:
    """Return a credential as it is handed on. Raises InvalidRow."""
    check_credential(credential)
    return _as_key(credential) if credential.is_key else _as_password(credential)


def _as_key(row: Credential) -> KeyLogin:
    by_agent = row.source == Credential.Source.AGENT
    return KeyLogin(
        name=row.name,
        key=None if by_agent else source_of(row),
        passphrase=row.passphrase,
        public_key=row.public_key.strip(),
        certificate=row.certificate.strip(),
        known_hosts=row.known_hosts,
    )


def _as_password(row: Credential) -> PasswordLogin:
    return PasswordLogin(row.name, row.user, source_of(row), row.host.lower())


def _place_of(url: str) -> tuple[str, str]:
    """Return the scheme and the host of a repository or an index, in lower case."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return "", ""
    if "://" in url:
        return parts.scheme.lower(), host
    # user@host:path, as scp has it; see validators.repository_validator.
    user, at, rest = url.partition("@")
    return ("ssh", rest.partition(":")[0].lower()) if at and "/" not in user else ("", "")
