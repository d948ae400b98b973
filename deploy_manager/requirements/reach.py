"""How far a pin may move, as specifiers that a resolver takes."""

from dataclasses import dataclass
from enum import StrEnum

from packaging.version import Version

from deploy_manager.requirements.fixing import is_fixed

CALENDAR = 1000
"""From this first number on a version tells a year, and says nothing of what stays compatible."""


class Reach(StrEnum):
    """From one exact version to whatever is newest."""

    EXACT = "exact"
    PATCH = "patch"
    MINOR = "minor"
    LATEST = "latest"
    FIX = "fix"


@dataclass(frozen=True)
class PinRequest:
    """A package that is to move, and how far."""

    name: str
    """Normalised."""

    reach: Reach
    version: str = ""
    """For EXACT: the version."""

    fixed_in: tuple[str, ...] = ()
    """For FIX: the versions that end what is known against it, oldest first."""

    def specifier(self, current: str) -> str:
        """Return where it may go from its current version; never to a lower one."""
        match self.reach:
            case Reach.EXACT:
                return f"=={self.version}"
            case Reach.PATCH:
                return f"{no_lower(current)},<{_next_minor(current)}"
            case Reach.MINOR:
                return within_major(current)
            case Reach.FIX if self.fixed_in and is_fixed(current, self.fixed_in):
                return f"=={current}"
            case Reach.FIX if fixed := self._nearest_fix(current):
                return f">={fixed},<{_next_minor(fixed)}"
        return no_lower(current)

    def _nearest_fix(self, current: str) -> str:
        """The first version that fixes it in the line at hand, else in the next one that has any.

        Blank: none is known.
        """
        later = [fixed for fixed in self.fixed_in if Version(fixed) > Version(current)]
        return next(iter(_same_line(later, current) or later), "")


def within_major(current: str) -> str:
    """Return the specifier of what should be compatible, and is no lower."""
    major = Version(current).major
    return no_lower(current) if major >= CALENDAR else f"{no_lower(current)},<{major + 1}"


def within_minor(current: str) -> str:
    """Return the specifier of what should only mend, and is no lower."""
    return f"{no_lower(current)},<{_next_minor(current)}"


def no_lower(current: str) -> str:
    """At least this version; a local part (1.0+ours) is none that a specifier may have here."""
    return f">={Version(current).public}"


def _next_minor(version: str) -> str:
    parsed = Version(version)
    return f"{parsed.major}.{parsed.minor + 1}"


def _same_line(versions: list[str], current: str) -> list[str]:
    line = (Version(current).major, Version(current).minor)
    return [each for each in versions if (Version(each).major, Version(each).minor) == line]
