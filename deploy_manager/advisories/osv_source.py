"""Advisories from OSV, or whatever answers as OSV does, at an address.

https://google.github.io/osv.dev/post-v1-querybatch/ says which records are about a version, and
https://google.github.io/osv.dev/get-v1-vulns/ has each of them.
"""

from collections import deque
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.utils.translation import gettext_noop as _

from deploy_manager.advisories.advice import (
    IDENTIFIER,
    Advice,
    KnownAdvisory,
    Pair,
    joined,
    known_advisory,
    one_for_each,
)
from deploy_manager.advisories.in_time import each_in_time
from deploy_manager.advisories.records import ECOSYSTEM, NOT_UNDERSTOOD, Record
from deploy_manager.advisories.web import Web, without_credentials
from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.messages import Message

MOST_IN_A_BATCH = 1000
"""Queries; OSV refuses more."""

MOST_PAGES = 100
"""Of the answer to one query."""

RECORDS_AT_ONCE = 8

_Records = dict[str, "Future[Record]"]


@dataclass
class _Named:
    """The records that are said to be about a version."""

    identifiers: dict[str, None] = field(default_factory=dict)
    pages: int = 0
    problem: Message = field(default_factory=Message)


class OsvSource:
    """See `sources.Source`. The address may hold a user and a password."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.name = without_credentials(address)

    def advise(self, pairs: Collection[Pair], timeout: float) -> Mapping[Pair, Advice]:
        with closing(Web(self._address, timeout)) as web:
            named = _ask_for_names(web, pairs)
            identifiers = sorted({each for one in named.values() for each in one.identifiers})
            records = each_in_time(
                lambda identifier: _ask_for_record(web, identifier),
                identifiers,
                web.seconds_left,
                RECORDS_AT_ONCE,
            )
        return {pair: _advice(pair, one, records) for pair, one in named.items()}


def _ask_for_names(web: Web, pairs: Collection[Pair]) -> dict[Pair, _Named]:
    """Raises AdvisoriesUnavailable if there was no answer about any pair."""
    named = {pair: _Named() for pair in pairs}
    waiting = deque((pair, "") for pair in pairs)
    has_answer = False
    while waiting:
        batch = [waiting.popleft() for _ in range(min(MOST_IN_A_BATCH, len(waiting)))]
        try:
            results = _ask_batch(web, batch)
            has_answer = True
        except AdvisoriesUnavailable as error:
            # Only if none of the batches was answered: the versions of this one are else unknown.
            if not has_answer and not waiting:
                raise
            for pair, _token in batch:
                named[pair].problem = Message(
                    _("no answer about this version: %(error)s"), error=error
                )
            continue
        for (pair, token), result in zip(batch, results, strict=True):
            next_token = _take_page(named[pair], token, result)
            if next_token:
                waiting.append((pair, next_token))
    return named


def _ask_batch(web: Web, batch: list[tuple[Pair, str]]) -> list[Any]:
    queries: list[dict[str, Any]] = [
        {"package": {"ecosystem": ECOSYSTEM, "name": name}, "version": version}
        | ({"page_token": token} if token else {})
        for (name, version), token in batch
    ]
    answer = web.ask("/v1/querybatch", {"queries": queries})
    results = answer.get("results") if isinstance(answer, dict) else None
    if not isinstance(results, list) or len(results) != len(batch):
        raise AdvisoriesUnavailable(_("its answer is not one of OSV"))
    return results


def _take_page(named: _Named, token: str, result: Any) -> str:
    """Take a page of what is named; return the token of the next one, or nothing."""
    named.pages += 1
    try:
        # {} says that nothing is known, so nothing else may pass for it: an error, for one.
        if result != {} and not result.keys() & {"vulns", "next_page_token"}:
            raise ValueError(Message(_("neither records nor a page")))
        records, next_token = result.get("vulns", []), result.get("next_page_token", "")
        if not isinstance(records, list) or not isinstance(next_token, str):
            raise TypeError(Message(_("not a list of records and a page")))
        identifiers = [each["id"] for each in records]
        if not all(map(IDENTIFIER.fullmatch, identifiers)):
            raise ValueError(Message(_("the id of a record")))
        if next_token and (next_token == token or named.pages == MOST_PAGES):
            raise ValueError(Message(_("pages without an end")))
    except NOT_UNDERSTOOD as error:
        named.problem = Message(
            _("its answer can't be understood: %(kind)s %(error)s"),
            kind=type(error).__name__,
            error=error,
        )
        return ""
    named.identifiers.update(dict.fromkeys(identifiers))
    return next_token


def _ask_for_record(web: Web, identifier: str) -> Record:
    record = Record(web.ask(f"/v1/vulns/{quote(identifier, safe='')}"))
    if record.identifier != identifier:
        raise ValueError(
            Message(_("it is the record %(identifier)s"), identifier=record.identifier)
        )
    return record


def _advice(pair: Pair, named: _Named, records: _Records) -> Advice:
    known: list[KnownAdvisory] = []
    problems = [named.problem] if named.problem else []
    for identifier in named.identifiers:
        advisory, problem = _read(pair, identifier, records)
        known += [advisory] if advisory else []
        problems += [Message("%(name)s %(why)s", name=identifier, why=problem)] if problem else []
    return Advice(one_for_each(known), joined(problems))


def _read(pair: Pair, identifier: str, records: _Records) -> tuple[KnownAdvisory | None, Message]:
    """Return an advisory and what is doubtful about it.

    OSV's own verdict counts: a record that is missing, not understood or says otherwise is shown
    under its name all the same.
    """
    nameless = known_advisory(pair[0], [identifier], "", ())
    if identifier not in records:
        return nameless, Message(_("did not come in time"))
    try:
        record = records[identifier].result()
        if record.is_withdrawn:
            return None, Message()
        advisory = record.as_advisory(pair[0])
        if record.affects(*pair):
            return advisory, Message()
        return advisory, Message(_("says that it is not about this version"))
    except AdvisoriesUnavailable as error:
        return nameless, Message(_("can't be had: %(error)s"), error=error)
    except NOT_UNDERSTOOD as error:
        why = _("can't be understood: %(kind)s %(error)s")
        return nameless, Message(why, kind=type(error).__name__, error=error)
