"""The ways to wake a worker that gathers facts, for who has them: it loads none of the work."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Gatherers:
    """How a worker is woken to gather each kind of fact; False if none could be."""

    take_inventory: Callable[..., bool]
    """Takes the ids of placements."""

    look_up: Callable[[], bool]
    audit: Callable[[], bool]
