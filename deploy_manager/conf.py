"""The settings of this app: one dictionary, DEPLOY_MANAGER, read lazily and typed."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings

from deploy_manager.exceptions import ConfigurationError

NUMBERS = (
    "STEP_TIMEOUT",
    "GIT_TIMEOUT",
    "MAX_HOSTS_AT_ONCE",
    "SHARD_HOSTS",
    "MAX_ARCHIVE_BYTES",
    "INVENTORY_EVERY",
    "LOOK_UP_EVERY",
)


@dataclass(frozen=True)
class Settings:
    """What `DEPLOY_MANAGER = {...}` may hold, with the defaults."""

    CACHE: Path = Path("~/.cache/deploy_manager")
    """Folder for the worker's mirror clones, code archives and packed tools."""

    SSH_KEY_FILE: Path | None = None
    """Private key that opens the servers. It stays on the worker."""

    SSH_AGENT: bool = False
    """Whether the keys of the worker's ssh-agent may be used."""

    STEP_TIMEOUT: float = 1800.0
    """Seconds one command on a server may take."""

    GIT_TIMEOUT: float = 300.0
    """Seconds one git command of the worker may take."""

    MAX_HOSTS_AT_ONCE: int = 50
    """How many servers one worker process drives side by side."""

    SHARD_HOSTS: int = 50
    """How many servers of a deployment one worker takes; more are shared among workers."""

    MAX_ARCHIVE_BYTES: int = 1024**3
    """The largest code archive that is sent to a server, unpacked."""

    INVENTORY_EVERY: float = 3600.0
    """Seconds after which a server is asked again what is installed."""

    LOOK_UP_EVERY: float = 6 * 3600.0
    """Seconds after which indexes and advisories are asked again about a package."""

    OSV_URL: str = ""
    """Where advisories are asked for; blank: OSV's own public address."""

    ADVISORY_FILE: Path | None = None
    """OSV records in a file, a folder or a zip, asked instead where nothing reaches OSV."""

    NOTIFY: dict[str, str] = field(default_factory=dict, repr=False)
    """Who can be told how deployments end: names, and apprise URLs, which hold secrets."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "CACHE", Path(self.CACHE).expanduser())
        if self.SSH_KEY_FILE is not None:
            object.__setattr__(self, "SSH_KEY_FILE", Path(self.SSH_KEY_FILE).expanduser())
        if self.ADVISORY_FILE is not None:
            object.__setattr__(self, "ADVISORY_FILE", Path(self.ADVISORY_FILE).expanduser())
        for name in NUMBERS:
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or value <= 0:
                raise ConfigurationError(f"DEPLOY_MANAGER[{name!r}] is a number above 0.")
        if not _is_a_dictionary_of_texts(self.NOTIFY):
            raise ConfigurationError(
                "DEPLOY_MANAGER['NOTIFY'] is a dictionary of names and apprise URLs,"
                ' like {"team": "mailto://..."}.'
            )


def _is_a_dictionary_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(part, str) for item in value.items() for part in item
    )


def get_settings() -> Settings:
    """Return the settings as they are now.

    Raises ConfigurationError for a name we do not know.
    """
    given: dict[str, Any] = getattr(django_settings, "DEPLOY_MANAGER", {})
    known = {field.name for field in fields(Settings)}
    if unknown := sorted(set(given) - known):
        raise ConfigurationError(
            f"DEPLOY_MANAGER has no setting {', '.join(unknown)}."
            f" It knows: {', '.join(sorted(known))}."
        )
    return Settings(**given)
