"""Advisories from PyPI, or whatever answers as its JSON API does, at an address.

https://warehouse.pypa.io/api-reference/json.html: each version has what is known against it.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from contextlib import closing
from typing import Any
from urllib.parse import quote

from django.utils.translation import gettext_noop as _
from pypi_simple import PYPI_SIMPLE_ENDPOINT

from deploy_manager.advisories.advice import (
    Advice,
    KnownAdvisory,
    Pair,
    known_advisory,
    one_for_each,
)
from deploy_manager.advisories.in_time import each_in_time
from deploy_manager.advisories.records import NOT_UNDERSTOOD
from deploy_manager.advisories.web import NotThere, Web, without_credentials
from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.messages import Message

ADDRESS = PYPI_SIMPLE_ENDPOINT.removesuffix("/simple/")
VERSIONS_AT_ONCE = 8


class PypiSource:
    """See `sources.Source`. The address may hold a user and a password."""

    def __init__(self, address: str = ADDRESS) -> None:
        self._address = address
        self.name = without_credentials(address)

    def advise(self, pairs: Collection[Pair], timeout: float) -> Mapping[Pair, Advice]:
        with closing(Web(self._address, timeout)) as web:
            answers = each_in_time(
                lambda pair: _ask(web, pair), pairs, web.seconds_left, VERSIONS_AT_ONCE
            )
        failures = [error for one in answers.values() if (error := one.exception())]
        if len(failures) == len(answers):
            late = AdvisoriesUnavailable(_("not within %(timeout)s s"), timeout=f"{timeout:g}")
            raise failures[0] if failures else late
        found = {pair: _advice(pair, answers.get(pair)) for pair in pairs}
        return {pair: advice for pair, advice in found.items() if advice is not None}


def _ask(web: Web, pair: Pair) -> Any:
    """Return what PyPI says about a version; None: it does not know this version."""
    name, version = (quote(part, safe="") for part in pair)
    try:
        return web.ask(f"/pypi/{name}/{version}/json")
    except NotThere:
        return None


def _advice(pair: Pair, answer: "Future[Any] | None") -> Advice | None:
    """None: PyPI does not know this version."""
    if answer is None:
        return Advice(problem=Message(_("no answer about this version in time")))
    known: list[KnownAdvisory] = []
    try:
        content = answer.result()
        if content is None:
            return None
        for entry in _list_in(content, "vulnerabilities"):
            if not entry.get("withdrawn"):
                known.append(_advisory(pair[0], entry))
    except AdvisoriesUnavailable as error:
        words = _("no answer about this version: %(error)s")
        return Advice(problem=Message(words, error=error.message))
    except NOT_UNDERSTOOD as error:
        words = _("its answer can't be understood: %(kind)s %(error)s")
        problem = Message(words, kind=type(error).__name__, error=error)
        return Advice(one_for_each(known), problem)
    return Advice(one_for_each(known))


def _advisory(package: str, entry: dict[str, Any]) -> KnownAdvisory:
    return known_advisory(
        package,
        [entry["id"], *_list_in(entry, "aliases")],
        entry.get("summary") or entry.get("details") or "",
        _list_in(entry, "fixed_in"),
    )


def _list_in(content: dict[str, Any], key: str) -> list[Any]:
    """Nothing else may pass for an empty list: it says that nothing is known."""
    found = content[key]
    if not isinstance(found, list):
        raise TypeError(f"{key} is not a list")
    return found
