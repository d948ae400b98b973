"""A server's Python by its own report: the wheels it takes, and the markers that are true."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from django.utils.translation import gettext_noop as _
from packaging.markers import Marker, default_environment
from packaging.tags import Tag, compatible_tags, cpython_tags, parse_tag, sys_tags

from deploy_manager.messages import Message
from deploy_manager.requirements.targets import MACHINES_OF_UV, Target

OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
"""The minor versions of glibc 2 that the first wheels for a machine were made for."""

ALIASES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
"""Older names of platforms, by the minor version of glibc 2."""


@dataclass(frozen=True)
class ServerPython:
    """A Python by the facts that decide which files of a package it takes."""

    tags: tuple[str, ...]
    """From packaging.tags, the best one first: cp311-cp311-manylinux_2_36_x86_64."""

    markers: Mapping[str, str]
    """The variables of environment markers (PEP 508)."""

    @classmethod
    def from_output(cls, answer: str) -> "ServerPython":
        """Read the output of `recipes/remote/list_tags.py`. Raises ValueError for anything else."""
        try:
            facts = json.loads(answer.strip().rpartition("\n")[2])
            tags = tuple(str(tag) for tag in facts["tags"])
            markers = {str(name): str(value) for name, value in facts["markers"].items()}
        except (TypeError, KeyError, AttributeError, RecursionError):
            raise ValueError(Message(_("not a list of tags and markers"))) from None
        python = cls(tags, markers)
        if not python.ranks:
            raise ValueError(Message(_("no tags")))
        return python

    def __str__(self) -> str:
        return (
            f"{self.markers.get('platform_python_implementation', '')}"
            f" {self.markers.get('python_full_version', '')} ({self.tags[0]})"
        )

    @cached_property
    def ranks(self) -> dict[Tag, int]:
        """The rank of a wheel with each tag; 0 is best."""
        ranks: dict[Tag, int] = {}
        for rank, text in enumerate(self.tags):
            for tag in parse_tag(text):
                ranks.setdefault(tag, rank)
        return ranks

    @cached_property
    def key(self) -> str:
        """A key for all Pythons that take the same wheels."""
        return hashlib.sha256("\n".join(self.tags).encode()).hexdigest()[:32]

    def is_true(self, marker: str) -> bool:
        """Whether a marker is true there; a blank one always is."""
        return not marker or Marker(marker).evaluate(dict(self.markers))

    def may_build_for(self, other: "ServerPython") -> bool:
        """Whether wheels that are compiled on this Python's machine run on the other's."""
        # Tags of the same interpreter and ABI differ by platform only, and those name the C
        # library: if this machine's is newer, it takes a manylinux tag that the other does not.
        own, _dash, _platform = self.tags[0].rpartition("-")
        return {tag for tag in self.tags if tag.startswith(f"{own}-")} <= set(other.tags)


def python_of(target: Target) -> ServerPython | None:
    """Return a server's Python by the facts of its inventory; None if they do not decide its tags.

    These are those of a usual build of CPython, on a machine for which most packages have wheels.
    """
    found = re.match(r"(\d+)\.(\d+)", target.python)
    platforms = list(_platforms(target))
    if found is None or target.implementation != "CPython" or not platforms:
        return None
    version = int(found[1]), int(found[2])
    own = f"cp{version[0]}{version[1]}"
    tags = (
        *cpython_tags(version, abis=[own], platforms=platforms),
        *compatible_tags(version, own, platforms),
    )
    return ServerPython(tuple(map(str, tags)), target.markers)


def _platforms(target: Target) -> Iterator[str]:
    """Yield the platforms of wheels that run there, best first: PEP 600 and PEP 656."""
    machine = target.machine
    found = re.fullmatch(r"(glibc 2|musl 1)\.(\d+)(\..*)?", target.libc)
    if found is None or target.platform != f"linux-{machine}" or machine not in MACHINES_OF_UV:
        return
    newest = int(found[2])
    yield f"linux_{machine}"
    if found[1].startswith("musl"):
        yield from (f"musllinux_1_{minor}_{machine}" for minor in range(newest, -1, -1))
    else:
        for minor in range(newest, OLDEST_GLIBC[machine] - 1, -1):
            yield f"manylinux_2_{minor}_{machine}"
            if alias := ALIASES.get(minor):
                yield f"{alias}_{machine}"


def own_python() -> ServerPython:
    """Return the worker's own Python."""
    markers = {name: str(value) for name, value in default_environment().items()}
    return ServerPython(tuple(str(tag) for tag in sys_tags()), markers)
