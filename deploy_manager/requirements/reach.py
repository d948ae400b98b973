"""Express how far a pin may move as a specifier for the resolver."""

from dataclasses import dataclass
from enum import StrEnum

from packaging.version import Version

from deploy_manager.requirements.fixing import is_fixed

CALENDAR = 1000
"""From this major number on it is a year, which says nothing about compatibility."""


class Reach(StrEnum):
    """How far a pin may move."""

    EXACT = "exact"
    PATCH = "patch"
    MINOR = "minor"
    LATEST = "latest"
    FIX = "fix"


@dataclass(frozen=True)
class PinRequest:
    """A request to move a package's pin, and how far."""

    name: str
    """Normalised."""

    reach: Reach
    version: str = ""
    """For EXACT: the version."""

    fixed_in: tuple[str, ...] = ()
    """For FIX: the versions that fix all its known advisories, oldest first."""

    def specifier(self, current: str) -> str:
        """Return where it may move from its current version; never to a lower one."""
        match self.reach:
            case Reach.EXACT:
                return f"=={self.version}"
            case Reach.PATCH:
                return within_minor(current)
            case Reach.MINOR:
                return within_major(current)
            case Reach.FIX if self.fixed_in and is_fixed(current, self.fixed_in):
                return f"=={current}"
            case Reach.FIX if fixed := self._nearest_fix(current):
                return f">={fixed},<{_next_minor(fixed)}"
        return no_lower(current)

    def _nearest_fix(self, current: str) -> str:
        """Return the first fixed version of the current minor line, else of any later one.

        Blank: none is known.
        """
        later = [fixed for fixed in self.fixed_in if Version(fixed) > Version(current)]
        same = [fixed for fixed in later if _next_minor(fixed) == _next_minor(current)]
        return next(iter(same or later), "")


def within_major(current: str) -> str:
    """Return the specifier of versions that should be compatible and are no lower."""
    major = Version(current).major
    return no_lower(current) if major >= CALENDAR else f"{no_lower(current)},<{major + 1}"


def within_minor(current: str) -> str:
    """Return the specifier of versions that should only have fixes and are no lower."""
    return f"{no_lower(current)},<{_next_minor(current)}"


def no_lower(current: str) -> str:
    """Return the specifier of at least this version."""
    return f">={Version(current).public}"  # PEP 440 allows no local part (1.0+ours) after >=


def _next_minor(version: str) -> str:
    parsed = Version(version)
    return f"{parsed.major}.{parsed.minor + 1}"
