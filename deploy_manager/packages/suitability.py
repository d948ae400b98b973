"""Whether a release's pins can be installed on servers, known before any of them is touched.

Servers are only asked which Python they have, if their inventories don't say it, or if the pins are
not for the one that these say: another may have been installed since.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.utils.translation import gettext_noop as _

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.credentials import Known, index_of
from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.logs import log_error
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement
from deploy_manager.packages.inventory import ask_python
from deploy_manager.packages.targets import reported_by
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.targets import Target
from deploy_manager.wheels.offers import Offers, ask_offers
from deploy_manager.wheels.other_pythons import ANOTHER_PYTHON, other_pythons
from deploy_manager.wheels.suiting import (
    BUILD_THEM,
    BUILT_THERE,
    OTHER_FILES,
    PIN_ALL,
    unfit_files,
    unpinned_needs,
)

logger = logging.getLogger(__name__)

NOT_CHECKED = _("Not everything could be checked beforehand: %(why)s The servers may know more.")


@dataclass(frozen=True)
class _Judged:
    """What is wrong with pins on some servers, with what to do, and what is only to be noted."""

    refused: tuple[Message, ...]
    noted: tuple[Message, ...]


def refuse_unsuitable(
    environment: Environment, digest: str, pins: Sequence[Pin], placements: Sequence[Placement]
) -> tuple[Message, ...]:
    """Return what could not be checked, and what servers have to build, for the log.

    `digest` is that of the pins' lock. Raises PinError with a line for each pin that can't be
    installed on these servers, or needs what is not pinned.
    """
    if _are_proven(environment, digest, placements):
        return ()
    offers = ask_offers([pin for pin in pins if not pin.url], index_of(environment))
    reported = reported_by(placements)
    servers = dict(reported)
    if offers.of:
        servers |= _asked([each for each in placements if each.server.name not in reported])
    judged = _judge(environment, offers, pins, servers)
    if judged.refused and reported:
        servers |= _asked([each for each in placements if each.server.name in reported])
        judged = _judge(environment, offers, pins, servers)
    if judged.refused:
        raise PinError(Message.lines(*judged.refused))
    return judged.noted


def _judge(
    environment: Environment, offers: Offers, pins: Sequence[Pin], servers: Mapping[str, Target]
) -> _Judged:
    refused: list[Message] = []
    noted = [Message(NOT_CHECKED, why=offers.problem)] if offers.problem else []
    needed = [(one.pin, one.requires_python) for one in offers.of if one.requires_python]
    if pythons := other_pythons(needed, servers):
        refused += [*pythons, ANOTHER_PYTHON]
    if needs := _unpinned_needs(offers, pins, servers.values()):
        refused += [*needs, Message(PIN_ALL, site=environment)]
    if not pythons:  # for another Python there mostly is no wheel either: once is enough
        wheels = _judge_wheels(environment, offers, servers)
        refused += wheels.refused
        noted += wheels.noted
    return _Judged(tuple(refused), tuple(noted))


def _judge_wheels(
    environment: Environment, offers: Offers, servers: Mapping[str, Target]
) -> _Judged:
    is_shipped = environment.wheels == Environment.Wheels.SHIPPED
    unfit, to_build = unfit_files(offers.of, servers)
    refused: list[Message] = []
    noted: list[Message] = []
    if unfit:
        # Without an index of its own, an environment's servers may know one that has a wheel.
        (refused if is_shipped or environment.index_url else noted).extend([*unfit, OTHER_FILES])
    if to_build and not is_shipped:
        noted += [*to_build, BUILT_THERE]
    elif to_build and environment.builder_id is None:
        refused += [*to_build, BUILD_THEM]
    return _Judged(tuple(refused), tuple(noted))


def _are_proven(environment: Environment, digest: str, placements: Sequence[Placement]) -> bool:
    """Whether each of the servers serves these pins already, or one with the same Python does.

    Then they can be installed there, though an index may not have all of them any more.
    """
    serving = environment.placements.filter(active_release__lock__digest=digest)
    having = list(serving.select_related("server"))
    here = {each.pk for each in having}
    proven = set(reported_by(having).values())
    others = [each for each in placements if each.pk not in here]
    is_known = all(each.python_version for each in others)
    return is_known and proven.issuperset(reported_by(others).values())


def _asked(placements: Sequence[Placement]) -> dict[str, Target]:
    """Ask servers side by side; those that don't answer are left out: their first step says why."""
    if not placements:
        return {}
    known, site = Known.load(), placements[0].environment
    addresses = {
        each.server.name: address_of(each.server, environment=site, known=known)
        for each in placements
    }
    python = site.python

    def ask(name: str) -> Target | None:
        try:
            return ask_python(addresses[name], python)
        except DeployManagerError as error:
            logger.info("The Python of %s is not known: %s", name, error)
        except Exception:
            # The border of a server: whatever happens with one, the others are asked.
            log_error(logger, "%s could not be asked about its Python", name)
        return None

    with ThreadPoolExecutor(min(get_settings().MAX_HOSTS_AT_ONCE, len(addresses))) as pool:
        answers = dict(zip(addresses, pool.map(ask, addresses), strict=True))
    return {name: target for name, target in answers.items() if target}


def _unpinned_needs(
    offers: Offers, pins: Sequence[Pin], targets: Iterable[Target]
) -> list[Message]:
    each = (unpinned_needs(offers.of, pins, target) for target in dict.fromkeys(targets))
    return list(dict.fromkeys(line for lines in each for line in lines))
