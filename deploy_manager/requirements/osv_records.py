"""Advisories from a file, where nothing reaches a database.

The file holds one OSV record (JSON), or a list of them; or it is a folder or a zip of such files,
like the exports that OSV publishes. Which versions a record affects is decided as
https://ossf.github.io/osv-schema/#evaluation says, with versions ordered as Python orders them.
"""

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.requirements.advice import (
    Advice,
    KnownAdvisory,
    known_advisory,
    one_for_each,
    parsed_version,
)

ECOSYSTEM = "PyPI"
MOST_PROBLEMS_TOLD = 3
_BEFORE_ALL = Version("0.dev0")

Pair = tuple[str, str]
Record = dict[str, Any]


@dataclass
class _Found:
    """What was read, for the packages somebody asks about."""

    by_name: dict[str, list[Record]]
    records: int = 0
    problems: list[str] = field(default_factory=list)


def advise_from_records(pairs: Sequence[Pair], path: Path) -> dict[Pair, Advice]:
    """Return what the records say against each pair of a normalised name and a version.

    A record that can't be read may be about any package: then all are unknown.
    """
    found = _Found({name: [] for name, _version in pairs})
    try:
        for name, content in _files(path):
            _sort_in(found, name, content)
    except AdvisoriesUnavailable as error:
        found.problems.append(str(error))
    if not found.records:
        found.problems.append(f"{path.name} holds no OSV record")
    problem = _told(found.problems)
    return {pair: _advice(pair, found.by_name[pair[0]], problem) for pair in pairs}


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                yield file.name, file.read_bytes()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".json"):
                        yield name, archive.read(name)
        else:
            yield path.name, path.read_bytes()
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise AdvisoriesUnavailable(f"{path.name} can't be read: {error}") from None


def _sort_in(found: _Found, name: str, content: bytes) -> None:
    try:
        told = json.loads(content)
        for record in told if isinstance(told, list) else [told]:
            for package in _packages(record) & found.by_name.keys():
                found.by_name[package].append(record)
            found.records += 1
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found.problems.append(f"{name} is no OSV record: {type(error).__name__} {error}")


def _packages(record: Record) -> set[str]:
    if str(record.get("schema_version", "1.0.0")).partition(".")[0] != "1":
        raise ValueError("of another major version of the schema")
    record["id"]  # every record has one
    return set() if record.get("withdrawn") else {name for name, _affected in _affected(record)}


def _affected(record: Record) -> Iterator[tuple[str, Record]]:
    for affected in record.get("affected", ()):
        package = affected.get("package", {})
        if package.get("ecosystem", "") == ECOSYSTEM:
            yield canonicalize_name(package["name"]), affected


def _advice(pair: Pair, records: list[Record], problem: str) -> Advice:
    name, version = pair[0], Version(Version(pair[1]).public)
    known: list[KnownAdvisory] = []
    problems = [problem] if problem else []
    for record in records:
        try:
            known += _against(name, version, record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{record['id']} can't be understood: {error}")
    return Advice(one_for_each(known), _told(problems))


def _against(name: str, version: Version, record: Record) -> Iterator[KnownAdvisory]:
    parts = [affected for other, affected in _affected(record) if other == name]
    if any(_is_affected(version, affected) for affected in parts):
        yield known_advisory(
            name,
            [record["id"], *record.get("aliases", ())],
            record.get("summary") or record.get("details") or "",
            (event["fixed"] for event in _events(parts) if "fixed" in event),
        )


def _events(parts: Iterable[Record]) -> Iterator[dict[str, str]]:
    for affected in parts:
        for one in _ranges(affected):
            yield from one["events"]


def _ranges(affected: Record) -> list[Record]:
    """Of versions; ranges of commits are for who has the repository."""
    ranges = [one for one in affected.get("ranges", ()) if one["type"] != "GIT"]
    if unknown := {one["type"] for one in ranges} - {"ECOSYSTEM"}:
        raise ValueError(f"a range of type {sorted(unknown)[0]}")
    return ranges


def _is_affected(version: Version, affected: Record) -> bool:
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
            is_start = kind == "introduced" and event[kind] == "0"
            yield (_BEFORE_ALL if is_start else Version(event[kind])), kind


def _told(problems: list[str]) -> str:
    told = problems[:MOST_PROBLEMS_TOLD]
    if len(problems) > MOST_PROBLEMS_TOLD:
        told.append(f"and {len(problems) - MOST_PROBLEMS_TOLD} more")
    return "; ".join(told)
