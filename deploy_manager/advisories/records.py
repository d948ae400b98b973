"""Reading OSV records: which packages one is about, and which versions it affects.

Decided as https://ossf.github.io/osv-schema/#evaluation says, with versions ordered as Python
orders them.
"""

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext_noop as _
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy_manager.advisories.advice import KnownAdvisory, known_advisory
from deploy_manager.messages import Message
from deploy_manager.requirements.versions import parsed_version

ECOSYSTEM = "PyPI"
NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AttributeError)
"""What reading a record raises that is not as the schema says."""

_BEFORE_ALL = Version("0.dev0")

_Json = dict[str, Any]


class Record:
    """One record, of which only what is asked for is read. Anything raises NOT_UNDERSTOOD."""

    def __init__(self, content: _Json) -> None:
        if str(content.get("schema_version", "1.0.0")).partition(".")[0] != "1":
            raise ValueError(Message(_("of another major version of the schema")))
        self._content = content
        if not isinstance(content["id"], str):
            raise TypeError(Message(_("its id is not a text")))
        self.identifier: str = content["id"]
        self.is_withdrawn = bool(content.get("withdrawn"))
        self._affected: dict[str, list[_Json]] = {}
        for affected in content.get("affected", ()):
            package = affected.get("package", {})
            if package.get("ecosystem", "") == ECOSYSTEM:
                self._affected.setdefault(canonicalize_name(package["name"]), []).append(affected)

    @property
    def packages(self) -> set[str]:
        """Normalised names."""
        return set(self._affected)

    def affects(self, package: str, version: str) -> bool:
        """Return whether it affects a public version."""
        parts = self._affected.get(package, ())
        return any(_is_affected(Version(version), affected) for affected in parts)

    def as_advisory(self, package: str) -> KnownAdvisory:
        """Return what people are shown of it."""
        aliases = self._content.get("aliases", [])
        if not isinstance(aliases, list):
            raise TypeError(Message(_("its aliases are not a list")))
        return known_advisory(
            package,
            [self.identifier, *aliases],
            self._content.get("summary") or self._content.get("details") or "",
            (event["fixed"] for event in self._events(package) if "fixed" in event),
        )

    def _events(self, package: str) -> Iterator[dict[str, str]]:
        for affected in self._affected.get(package, ()):
            for one in _ranges(affected):
                yield from one["events"]


def _ranges(affected: _Json) -> list[_Json]:
    """Of versions; ranges of commits need the repository."""
    ranges = [one for one in affected.get("ranges", ()) if one["type"] != "GIT"]
    if unknown := {one["type"] for one in ranges} - {"ECOSYSTEM"}:
        raise ValueError(Message(_("a range of type %(unknown)s"), unknown=sorted(unknown)[0]))
    return ranges


def _is_affected(version: Version, affected: _Json) -> bool:
    listed = {parsed_version(text) for text in affected.get("versions", ())}
    return version in listed or any(_is_within(version, one["events"]) for one in _ranges(affected))


def _is_within(version: Version, events: list[dict[str, str]]) -> bool:
    limits = [event["limit"] for event in events if event.get("limit", "*") != "*"]
    if limits and not any(version < Version(limit) for limit in limits):
        return False
    is_affected = False
    for moment, kind in sorted(_moments(events)):
        if kind == "introduced" and version >= moment:
            is_affected = True
        elif (kind == "fixed" and version >= moment) or (
            kind == "last_affected" and version > moment
        ):
            is_affected = False
    return is_affected


def _moments(events: list[dict[str, str]]) -> Iterator[tuple[Version, str]]:
    for event in events:
        for kind in event.keys() & {"introduced", "fixed", "last_affected"}:
            # "0" is not the version 0: as the schema says, it comes before all versions.
            is_start = kind == "introduced" and event[kind] == "0"
            yield (_BEFORE_ALL if is_start else Version(event[kind])), kind
