"""Whether a release's pins can be installed on servers, known before any of them is touched.

Servers are only asked which Python they have, if their inventories don't say it, or say one that
the pins are not for: another may have been installed since.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from django.utils.translation import gettext_noop as _

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.messages import Message
from deploy_manager.models import Environment, IndexedPackage, Placement
from deploy_manager.models.shapes import texts_by_name
from deploy_manager.packages.inventory import ask_python
from deploy_manager.packages.targets import reported_by
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.targets import Target
from deploy_manager.wheels.offers import Offers, ask_offers
from deploy_manager.wheels.suiting import (
    ANOTHER_PYTHON,
    PIN_ALL,
    other_pythons,
    unpinned_needs,
)

logger = logging.getLogger(__name__)


def refuse_unsuitable(
    environment: Environment, digest: str, pins: Sequence[Pin], placements: Sequence[Placement]
) -> tuple[Message, ...]:
    """Return what could not be checked, for the log.

    `digest` is that of the pins' lock. Raises PinError with a line for each pin that can't be
    installed on these servers, or needs what is not pinned.
    """
    if _are_proven(environment, digest, placements):
        return ()
    offers = ask_offers([pin for pin in pins if not pin.url], environment.index_url)
    servers, lines = _fit_pythons(offers, placements)
    advice = [ANOTHER_PYTHON] if lines else []
    needs = _unpinned_needs(offers, pins, servers.values())
    if lines or needs:
        raise PinError(Message.lines(*lines, *advice, *needs, *([PIN_ALL] if needs else [])))
    return _notices(offers)


def _are_proven(environment: Environment, digest: str, placements: Sequence[Placement]) -> bool:
    """Whether each of the servers serves these pins already, or one with the same Python does.

    Then they can be installed there, though an index may not have all of them any more.
    """
    serving = environment.placements.filter(active_release__lock__digest=digest)
    having = list(serving.select_related("server"))
    here = {each.pk for each in having}
    proven = set(reported_by(having).values())
    others = [each for each in placements if each.pk not in here]
    return not _unknown(others) and proven.issuperset(reported_by(others).values())


def _fit_pythons(
    offers: Offers, placements: Sequence[Placement]
) -> tuple[dict[str, Target], list[Message]]:
    """Return the Pythons of the servers, as far as they are known, and what does not fit them."""
    servers = reported_by(placements)
    if not offers.of:
        return servers, []
    needed = [(one.pin, one.requires_python) for one in offers.of if one.requires_python]
    _lines, wrong = other_pythons(needed, servers)
    to_ask = [each for each in placements if each.server.name in wrong.union(_unknown(placements))]
    servers |= _asked(to_ask)
    lines, _wrong = other_pythons(needed, servers)
    return servers, lines


def _unknown(placements: Iterable[Placement]) -> set[str]:
    return {each.server.name for each in placements if not each.python_version}


def _asked(placements: Sequence[Placement]) -> dict[str, Target]:
    """Ask servers side by side; those that don't answer are left out: their first step says why."""
    if not placements:
        return {}
    addresses = {each.server.name: address_of(each.server) for each in placements}
    python = placements[0].environment.python

    def ask(name: str) -> Target | None:
        try:
            return ask_python(addresses[name], python)
        except DeployManagerError as error:
            logger.info("The Python of %s is not known: %s", name, error)
        except Exception:
            # The border of a server: whatever happens with one, the others are asked.
            logger.exception("%s could not be asked about its Python", name)
        return None

    with ThreadPoolExecutor(min(get_settings().MAX_HOSTS_AT_ONCE, len(addresses))) as pool:
        answers = dict(zip(addresses, pool.map(ask, addresses), strict=True))
    return {name: target for name, target in answers.items() if target}


def _unpinned_needs(
    offers: Offers, pins: Sequence[Pin], targets: Iterable[Target]
) -> list[Message]:
    each = (unpinned_needs(offers.of, pins, target) for target in dict.fromkeys(targets))
    return list(dict.fromkeys(line for lines in each for line in lines))


def _notices(offers: Offers) -> tuple[Message, ...]:
    if offers.problem is None:
        return ()
    text = _("Not everything could be checked beforehand: %(why)s The servers may know more.")
    return (Message(text, why=offers.problem),)


def foreseen(
    environment: Environment, pins: Sequence[Pin], placements: Iterable[Placement]
) -> tuple[Message, ...]:
    """Return a line for each pin that servers' Pythons are not for, as far as rows know.

    Asks neither servers nor an index. A server may have another Python by now: its worker asks.
    """
    rows = IndexedPackage.objects.filter(
        index_url=environment.index_url, name__in={pin.name for pin in pins}
    )
    known = {row.name: texts_by_name(row.requires_python) for row in rows}
    needed = []
    for pin in pins:
        with suppress(KeyError):
            needed.append((pin, known[pin.name][pin.version]))
    lines, _wrong = other_pythons(needed, reported_by(placements))
    return (*lines, ANOTHER_PYTHON) if lines else ()
