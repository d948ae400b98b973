"""The content of requirement files: requirements, options and problems, each with its line."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from django.utils.translation import gettext_noop as _
from packaging.specifiers import SpecifierSet

from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.pin_parts import ENDS_A_MARKER, EXTRA
from deploy_manager.sealing import Secret

NONE = Secret("")


@dataclass(frozen=True)
class Address:
    """A URL or a path, and separately the credentials in it."""

    url: str
    """Without user and password."""

    credentials: Secret = NONE
    """Like `user:password`; placeholders like `${TOKEN}` stay as they are."""

    @classmethod
    def of(cls, text: str) -> "Address":
        """Split the credentials from a URL or path. Raises ValueError for an invalid URL."""
        parts = urlsplit(text)
        # The last @, as a password may contain one.
        credentials, at, place = parts.netloc.rpartition("@")
        if not at:
            return cls(text)
        return cls(urlunsplit(parts._replace(netloc=place)), Secret(credentials))

    @property
    def host(self) -> str | None:
        """Raises ValueError for an invalid port."""
        parts = urlsplit(self.url)
        # urlsplit checks the port only when it is read.
        return parts.hostname if parts.port is None or parts.port >= 0 else None


@dataclass(frozen=True)
class Problem:
    """A line that is not accepted, and why."""

    file: str
    line: int
    """Counted from 1; 0 means the file as a whole."""

    reason: str
    """Without secrets, printable."""

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.reason}"


@dataclass(frozen=True)
class Asked:
    """One requirement, or one constraint, as a line has it."""

    name: str
    """Normalised; blank for a path or a URL without a name."""

    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: tuple[str, ...] = ()
    marker: str = ""
    hashes: tuple[str, ...] = ()
    """Like `sha256:…`, as they are written."""

    address: Address | None = None
    """The URL, repository or path that it comes from; None: an index."""

    editable: bool = False
    direct: bool = True
    """Whether the project itself asks for it, not only another package."""

    file: str = ""
    line: int = 0
    text: str = ""
    """The line, without secrets, for messages."""

    def __post_init__(self) -> None:
        """Raises ValueError for what would end a line: a lock file has one for each pin."""
        if ENDS_A_MARKER.search(self.marker) or not all(map(EXTRA.fullmatch, self.extras)):
            raise ValueError(Message(_("its marker or one of its extras would end the line")))


@dataclass(frozen=True)
class IndexOption:
    """An option that applies to all packages, like `--index-url`."""

    name: str
    value: Address | str
    file: str = ""
    line: int = 0
    text: str = ""


@dataclass(frozen=True)
class Asking:
    """Everything that files ask for, in the order of their lines."""

    requirements: tuple[Asked, ...] = ()
    constraints: tuple[Asked, ...] = ()
    options: tuple[IndexOption, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    """Every file that was read, in the order in which they were opened."""


def shown(line: str, most: int = 100) -> str:
    """Return a line for use in a message: short, printable, without secrets."""
    # Cut before anything else: a line may have megabytes.
    line = "".join(one if one.isprintable() else " " for one in line.strip()[:500])
    return mask_text(line)[:most]
