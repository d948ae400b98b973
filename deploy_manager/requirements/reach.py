"""How far a pin may move."""

from dataclasses import dataclass
from enum import StrEnum


class Reach(StrEnum):
    """From one exact version to whatever is newest."""

    EXACT = "exact"
    PATCH = "patch"
    MINOR = "minor"
    LATEST = "latest"
    FIX = "fix"


@dataclass(frozen=True)
class PinWish:
    """A package that is to move, and how far."""

    name: str
    reach: Reach
    version: str = ""
    """For EXACT: the version."""

    fixed_in: tuple[str, ...] = ()
    """For FIX: versions in which what is known against it is fixed."""
