"""What files ask for: requirements, options and bad lines, each with the place it stands at."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from packaging.specifiers import SpecifierSet

from deploy_manager.logs import mask_text


@dataclass(frozen=True)
class Secret:
    """A value that shows itself to nobody who does not ask for it by name."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "[masked]" if self.value else ""

    def __repr__(self) -> str:
        return f"Secret({str(self)!r})"


@dataclass(frozen=True)
class Address:
    """A URL, or a path, and apart from it who says so to whom."""

    url: str
    """Without user and password."""

    credentials: Secret = Secret("")
    """Like `user:password`; placeholders like `${TOKEN}` stay as they are written."""

    @classmethod
    def of(cls, text: str) -> "Address":
        """Take an address apart. Raises ValueError for what no URL can be."""
        parts = urlsplit(text)
        who, at, place = parts.netloc.rpartition("@")
        if not at:
            return cls(text)
        return cls(urlunsplit(parts._replace(netloc=place)), Secret(who))

    @property
    def host(self) -> str | None:
        """Raises ValueError where what follows the host is no port."""
        parts = urlsplit(self.url)
        return parts.hostname if parts.port is None or parts.port >= 0 else None


@dataclass(frozen=True)
class Problem:
    """A line that is not taken, and why."""

    file: str
    line: int
    """Counted from 1; 0 where the file as a whole is meant."""

    reason: str
    """Without secrets, printable."""

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.reason}"


@dataclass(frozen=True)
class Asked:
    """One requirement, or one constraint, as a line says it."""

    name: str
    """Normalised; blank for a path or a URL that does not tell."""

    specifier: SpecifierSet = field(default_factory=SpecifierSet)
    extras: tuple[str, ...] = ()
    marker: str = ""
    hashes: tuple[str, ...] = ()
    """Like `sha256:…`, as they are written."""

    address: Address | None = None
    """Where it comes from, if not from an index: a URL, a repository, a path."""

    editable: bool = False
    direct: bool = True
    """Asked for by the project itself, not by another package."""

    file: str = ""
    line: int = 0
    text: str = ""
    """The line, without secrets, for messages."""


@dataclass(frozen=True)
class IndexOption:
    """An option of a line that concerns all packages, like `--index-url`."""

    name: str
    value: Address | str
    file: str = ""
    line: int = 0
    text: str = ""


@dataclass(frozen=True)
class Asking:
    """All that files ask for, in the order of their lines."""

    requirements: tuple[Asked, ...] = ()
    constraints: tuple[Asked, ...] = ()
    options: tuple[IndexOption, ...] = ()
    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    """Every file that was read, in the order they were opened."""


def shown(line: str, most: int = 100) -> str:
    """Return a line as it may stand in a message: short, printable, without secrets."""
    line = "".join(one if one.isprintable() else " " for one in line.strip()[:500])
    return mask_text(line)[:most]
