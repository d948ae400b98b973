"""What a server's Python says of itself: which wheels it takes, which markers are true there."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from packaging.markers import Marker, default_environment
from packaging.tags import Tag, parse_tag, sys_tags


@dataclass(frozen=True)
class ServerPython:
    """A Python by the facts that decide which files of a package it takes."""

    tags: tuple[str, ...]
    """As packaging.tags names them, the best one first: cp311-cp311-manylinux_2_36_x86_64."""

    markers: Mapping[str, str]
    """What environment markers are asked of (PEP 508)."""

    @classmethod
    def told(cls, answer: str) -> "ServerPython":
        """Read what `recipes/remote/tell_tags.py` prints. Raises ValueError for anything else."""
        try:
            facts = json.loads(answer.strip().rpartition("\n")[2])
            tags = tuple(str(tag) for tag in facts["tags"])
            markers = {str(name): str(value) for name, value in facts["markers"].items()}
        except (TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError("no list of tags and markers") from None
        python = cls(tags, markers)
        if not python.ranks:
            raise ValueError("no tags")
        return python

    def __str__(self) -> str:
        return (
            f"{self.markers.get('platform_python_implementation', '')}"
            f" {self.markers.get('python_full_version', '')} ({self.tags[0]})"
        )

    @cached_property
    def ranks(self) -> dict[Tag, int]:
        """How good a wheel of each tag is; 0 is best."""
        ranks: dict[Tag, int] = {}
        for rank, text in enumerate(self.tags):
            for tag in parse_tag(text):
                ranks.setdefault(tag, rank)
        return ranks

    @cached_property
    def key(self) -> str:
        """A name for all Pythons that take the same wheels."""
        return hashlib.sha256("\n".join(self.tags).encode()).hexdigest()[:32]

    def is_true(self, marker: str) -> bool:
        """Whether a marker, possibly blank, is true there."""
        return not marker or Marker(marker).evaluate(dict(self.markers))

    def may_build_for(self, other: "ServerPython") -> bool:
        """Whether what is compiled by this Python, on its machine, runs by the other one.

        A newer C library than the other's shows in a tag that the other does not take.
        """
        own, _dash, _platform = self.tags[0].rpartition("-")
        return {tag for tag in self.tags if tag.startswith(f"{own}-")} <= set(other.tags)


def own_python() -> ServerPython:
    """Return what the worker's own Python says."""
    markers = {name: str(value) for name, value in default_environment().items()}
    return ServerPython(tuple(str(tag) for tag in sys_tags()), markers)
