"""Advisories from a file, for where nothing reaches a database.

The file holds one OSV record (JSON), or a list of them; or it is a folder or a zip of such files,
like the exports that OSV publishes. What it holds is all that is known.
"""

import json
import time
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation import gettext_noop as _

from deploy_manager.advisories.advice import Advice, KnownAdvisory, Pair, joined, one_for_each
from deploy_manager.advisories.records import NOT_UNDERSTOOD, Record
from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.messages import Message


@dataclass
class _Found:
    """What was read, for the packages somebody asks about."""

    by_name: dict[str, list[Record]]
    records: int = 0
    problems: list[Message] = field(default_factory=list)


class FileSource:
    """See `sources.Source`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name

    def advise(self, pairs: Collection[Pair], timeout: float) -> Mapping[Pair, Advice]:
        """A file that can't be read may be about any package: then all have a problem."""
        deadline = time.monotonic() + timeout
        found = _Found({name: [] for name, _version in pairs})
        try:
            for name, content in _files(self._path):
                _sort_in(found, name, content)
                if time.monotonic() > deadline:
                    raise AdvisoriesUnavailable(
                        _("not read within %(timeout)s s"), timeout=f"{timeout:g}"
                    )
        except AdvisoriesUnavailable as error:
            found.problems.append(error.message)
        if not found.records:
            raise AdvisoriesUnavailable(
                joined([*found.problems, Message(_("it holds no OSV record"))])
            )
        problem = joined(found.problems)
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
    # RuntimeError: of a member that is encrypted.
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise AdvisoriesUnavailable(_("it can't be read: %(error)s"), error=error) from None


def _sort_in(found: _Found, name: str, content: bytes) -> None:
    try:
        content_read = json.loads(content)
        for each in content_read if isinstance(content_read, list) else [content_read]:
            record = Record(each)
            found.records += 1
            if not record.is_withdrawn:
                for package in record.packages & found.by_name.keys():
                    found.by_name[package].append(record)
    except (*NOT_UNDERSTOOD, RecursionError) as error:
        problem = _("%(name)s is not an OSV record: %(kind)s %(error)s")
        kind = type(error).__name__
        found.problems.append(Message(problem, name=name, kind=kind, error=error))


def _advice(pair: Pair, records: list[Record], problem: Message) -> Advice:
    known: list[KnownAdvisory] = []
    problems = [problem] if problem else []
    for record in records:
        try:
            if record.affects(*pair):
                known.append(record.as_advisory(pair[0]))
        except NOT_UNDERSTOOD as error:
            why = _("%(name)s can't be understood: %(error)s")
            problems.append(Message(why, name=record.identifier, error=error))
    return Advice(one_for_each(known), joined(problems))
