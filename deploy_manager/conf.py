"""The settings of this app: one typed dictionary, DEPLOY_MANAGER, read on demand."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import ConfigurationError

NUMBERS = (
    "STEP_TIMEOUT",
    "GIT_TIMEOUT",
    "MAX_HOSTS_AT_ONCE",
    "SHARD_HOSTS",
    "MAX_ARCHIVE_BYTES",
    "INVENTORY_EVERY",
    "LOOK_UP_EVERY",
    "ADVISORY_TIMEOUT",
)

KEPT = ("logs", "deployments", "audit", "deliveries", "wheels")

PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])", re.ASCII)
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class Settings:
    """The keys of `DEPLOY_MANAGER = {...}`, with their defaults."""

    CACHE: Path = Path("~/.cache/deploy_manager")
    """Folder for the worker's mirror clones, code archives and packed tools."""

    SSH_KEY_FILE: Path | None = None
    """Private key for the servers. It stays on the worker."""

    BOOTSTRAP_KEY_FILE: Path | None = None
    """Private key for the bootstrap users of servers. None: the key for all else."""

    PROVISION: bool = True
    """Whether servers may be provisioned from here. False: something else prepares them."""

    LOCAL_SERVERS: bool = False
    """Whether a server may be the worker's own machine, where commands run as the worker does.

    For try-outs: who deploys there can read the worker's key and all that its account can.
    """

    SSH_AGENT: bool = False
    """Whether the keys of the worker's ssh-agent may be used."""

    SECRETS_KEY_FILE: Path | None = None
    """Private keys that open secrets, the current one first: for the worker only."""

    SECRETS_PUBLIC_KEY: str = ""
    """The public key that seals secrets, for a web server. Blank: that of SECRETS_KEY_FILE."""

    CONTENT_SECURITY_POLICY: bool = True
    """Whether our pages of the admin say which scripts may run there: only static files.

    False for a theme of the admin that has scripts in its pages.
    """
    SECRET_COMMANDS: dict[str, list[str]] = field(default_factory=dict)
    """Commands of the worker that print a secret: names, and words, of which one has {} in it."""

    INSECURE_REPOSITORIES: tuple[str, ...] = ()
    """Hosts of git from which code may come by http:// or git://, which anybody can change."""

    STEP_TIMEOUT: float = 1800.0
    """Seconds one command on a server may take."""

    GIT_TIMEOUT: float = 300.0
    """Seconds one git command of the worker may take."""

    MAX_HOSTS_AT_ONCE: int = 50
    """How many servers one worker process works on at the same time."""

    SHARD_HOSTS: int = 50
    """How many servers of a deployment one worker takes; the others go to further workers."""

    MAX_ARCHIVE_BYTES: int = 1024**3
    """The largest code archive that is sent to a server, unpacked."""

    INVENTORY_EVERY: float = 3600.0
    """Seconds after which a server is asked again what is installed."""

    WATCH_EVERY: float | None = 60.0
    """Seconds after which a server is asked again what runs, between deployments. None: never."""

    LOOK_UP_EVERY: float = 6 * 3600.0
    """Seconds after which indexes and advisories are asked again about a package."""

    ADVISORIES: tuple[str | Path, ...] = field(default=("https://api.osv.dev",), repr=False)
    """Sources of advisories, in order: each is asked what the one before did not answer.

    An address that answers as OSV does, which may hold a password; a file, folder or zip of OSV
    records; or the dotted path of a class like those in `advisories/`.
    """

    ADVISORY_TIMEOUT: float = 120.0
    """Seconds that each source gets for one check."""

    RETENTION: dict[str, int] = field(default_factory=dict)
    """Days for which each kind of `KEPT` is kept; what is not named: for ever."""

    NOTIFY: dict[str, str] = field(default_factory=dict, repr=False)
    """Targets of notifications: names, and apprise URLs. These hold secrets: never shown."""

    API_RATE: str = "600/m"
    """Requests that one token of the API may make in a time: 600/m, 20000/h."""

    def __post_init__(self) -> None:
        # The class is frozen, so the paths are replaced by what dataclasses use themselves.
        object.__setattr__(self, "CACHE", _expanded("CACHE", self.CACHE))
        for name in ("SSH_KEY_FILE", "BOOTSTRAP_KEY_FILE", "SECRETS_KEY_FILE"):
            if (key_file := getattr(self, name)) is not None:
                object.__setattr__(self, name, _expanded(name, key_file))
        self._check_switches()
        object.__setattr__(self, "ADVISORIES", _sources(self.ADVISORIES))
        _check_secret_commands(self.SECRET_COMMANDS)
        _check_hosts(self.INSECURE_REPOSITORIES)
        for name in NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or value <= 0:
                raise ConfigurationError(
                    _("DEPLOY_MANAGER[%(name)s] has to be a number above 0."), name=repr(name)
                )
        if not isinstance(self.WATCH_EVERY or 0, (int, float)) or (self.WATCH_EVERY or 0) < 0:
            raise ConfigurationError(
                _(
                    "DEPLOY_MANAGER['WATCH_EVERY'] has to be a number of seconds,"
                    " or None not to watch processes."
                )
            )
        _check_retention(self.RETENTION)
        parse_rate(self.API_RATE)
        if not isinstance(self.NOTIFY, dict) or not all(
            isinstance(part, str) for item in self.NOTIFY.items() for part in item
        ):
            raise ConfigurationError(
                _(
                    "DEPLOY_MANAGER['NOTIFY'] has to be a dictionary of names and apprise URLs,"
                    ' like {"team": "mailto://..."}.'
                )
            )

    def _check_switches(self) -> None:
        for name in ("PROVISION", "LOCAL_SERVERS"):
            if not isinstance(getattr(self, name), bool):
                # A text like "no" would count as true.
                raise ConfigurationError(
                    _("DEPLOY_MANAGER[%(name)s] has to be True or False."), name=repr(name)
                )


def parse_rate(rate: str) -> tuple[int, int]:
    """Return how many requests a rate like 600/m allows, and in how many seconds.

    Raises ConfigurationError.
    """
    found = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if found is None:
        raise ConfigurationError(
            _("DEPLOY_MANAGER['API_RATE'] has to be a number in a time, like 600/m or 20000/h.")
        )
    return int(found[1]), PERIODS[found[2]]


def _check_retention(days: object) -> None:
    if not isinstance(days, dict) or not all(
        kind in KEPT and isinstance(each, int) and each > 0 for kind, each in days.items()
    ):
        raise ConfigurationError(
            _(
                "DEPLOY_MANAGER['RETENTION'] has to be a dictionary of days above 0 for some of"
                " %(kinds)s."
            ),
            kinds=", ".join(KEPT),
        )


def _check_secret_commands(commands: object) -> None:
    """Raise ConfigurationError unless each command is a list of words, one of them with {}."""
    wrong = not isinstance(commands, dict) or [
        name
        for name, words in commands.items()
        if not isinstance(name, str)
        or not isinstance(words, (list, tuple))
        or not all(isinstance(word, str) for word in words)
        or not any("{}" in word for word in words[1:])
    ]
    if wrong:
        raise ConfigurationError(
            _(
                "DEPLOY_MANAGER['SECRET_COMMANDS'] has to be a dictionary of names and commands,"
                " each a list of words of which one has {} in it,"
                ' like {"op": ["op", "read", "{}"]}.'
            )
        )


def _check_hosts(hosts: object) -> None:
    if not isinstance(hosts, (list, tuple)) or not all(isinstance(one, str) for one in hosts):
        raise ConfigurationError(
            _(
                "DEPLOY_MANAGER['INSECURE_REPOSITORIES'] has to be a list of hosts,"
                ' like ["git.example.org"].'
            )
        )


def _expanded(name: str, path: str | Path) -> Path:
    """Return a setting's path with its ~ expanded. Raises ConfigurationError."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # as in containers: an account without an entry in the system's list
        raise ConfigurationError(
            _(
                "DEPLOY_MANAGER[%(name)s]: the home folder in %(path)s is unknown, since this"
                " account has none. Enter an absolute path, or set the variable HOME of the worker"
                " and the web server."
            ),
            name=repr(name),
            path=path,
        ) from None


def _sources(entries: object) -> tuple[str | Path, ...]:
    """Return the sources of advisories, those that are files as a Path."""
    if not isinstance(entries, (list, tuple)) or not entries:
        raise ConfigurationError(
            _(
                "DEPLOY_MANAGER['ADVISORIES'] has to be a list that is not empty,"
                ' like ["https://api.osv.dev", "/srv/osv.zip"].'
            )
        )
    return tuple(_source(place, entry) for place, entry in enumerate(entries))


def _source(place: int, entry: object) -> str | Path:
    """The message names the place, since an address may hold a password."""
    if isinstance(entry, Path) or (isinstance(entry, str) and entry.startswith(("/", "~"))):
        return _expanded("ADVISORIES", entry)
    if isinstance(entry, str) and (_is_an_address(entry) or _DOTTED.fullmatch(entry)):
        return entry
    raise ConfigurationError(
        _(
            "DEPLOY_MANAGER['ADVISORIES'][%(place)s] has to be an address like "
            '"https://api.osv.dev", the absolute path of a file, folder or zip of OSV '
            'records like "/srv/osv.zip", or the dotted path of a class like '
            '"shop.advisories.OurSource".'
        ),
        place=place,
    )


def _is_an_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # raises if it isn't one
    except ValueError:
        return False
    is_bare = not parts.query and not parts.fragment  # paths are added to it
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_bare


def get_settings() -> Settings:
    """Return the current settings. Raises ConfigurationError for an unknown name."""
    given: dict[str, Any] = getattr(django_settings, "DEPLOY_MANAGER", {})
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise ConfigurationError(
            _("DEPLOY_MANAGER has no setting %(unknown)s. Known settings: %(known)s."),
            unknown=", ".join(unknown),
            known=", ".join(sorted(known)),
        )
    return Settings(**given)
