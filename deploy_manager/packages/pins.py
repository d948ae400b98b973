"""Requirement rows and the pins they stand for."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from django.db import transaction

from deploy_manager.drift import Pinned
from deploy_manager.exceptions import InvalidRow, PinError
from deploy_manager.models import Deployment, Environment, Requirement
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins
from deploy_manager.row_checks import check_row

logger = logging.getLogger(__name__)


def pins_of(environment: Environment) -> tuple[Pin, ...]:
    """Return an environment's rows as pins, in the order of their names.

    Raises PinError for a row that is no pin: they are also written around the form.
    """
    return tuple(_pin(environment, row) for row in environment.requirements.all())


def _pin(environment: Environment, row: Requirement) -> Pin:
    for name, value in (("extras", row.extras), ("hashes", row.hashes)):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise PinError(f"{environment}: the {name} of {row.name} are not a list of texts.")
    return Pin(
        name=row.name,
        version=row.version,
        extras=tuple(row.extras),
        marker=row.marker,
        hashes=tuple(row.hashes),
        direct=row.direct,
    )


def checked_pins_of(environment: Environment) -> tuple[Pin, ...]:
    """Return an environment's rows as pins that may become lines of a file.

    Raises PinError, which names the environment and its first row that is no pin.
    """
    for row in environment.requirements.all():
        try:
            check_row(row)
        except InvalidRow as error:
            raise PinError(f"{environment}'s list of requirements: {error}") from None
    return pins_of(environment)


@lru_cache(maxsize=64)
def pins_in(lock: str) -> tuple[Pin, ...]:
    """Return the pins of a lock that was installed; a blank one has none.

    Nor has one that can't be read, of which the log of this process tells: it may serve all the
    same, and must be looked at or left.
    """
    try:
        return read_pins(lock) if lock else ()
    except PinError as error:
        logger.warning("A lock can't be read, nothing is measured by it: %s", error)
        return ()


@lru_cache(maxsize=64)
def pinned_in(lock: str) -> Mapping[str, Sequence[Pinned]]:
    """Return what a lock asks for, by the names of packages; see `pins_in`."""
    pins: dict[str, list[Pinned]] = defaultdict(list)
    for pin in pins_in(lock):
        pins[pin.name].append(Pinned(pin.version, pin.marker))
    return dict(pins)


def replace_pins(environment: Environment, pins: Iterable[Pin]) -> None:
    """Make an environment's rows stand for exactly these pins, in one transaction."""
    with transaction.atomic():
        environment.requirements.all().delete()
        Requirement.objects.bulk_create(
            Requirement(
                environment=environment,
                name=pin.name,
                version=pin.version,
                extras=list(pin.extras),
                marker=pin.marker,
                hashes=list(pin.hashes),
                direct=pin.direct,
            )
            for pin in pins
        )


def note_pins(deployment: Deployment) -> None:
    """Show a commit's pins as its environment's, once they really serve somewhere."""
    environment = deployment.environment
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return
    deployment.refresh_from_db(fields=["release"])
    release = deployment.release
    if release and release.active_on.exists():
        replace_pins(environment, read_pins(release.lock.text))
