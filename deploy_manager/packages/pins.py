"""Requirement rows and locks as pins, and pins as rows."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from django.db import DataError, IntegrityError, transaction
from django.utils.translation import gettext_noop as _

from deploy_manager.auditing import record_change
from deploy_manager.drift import Pinned
from deploy_manager.exceptions import InvalidRow, PinError
from deploy_manager.models import Deployment, Environment, Release, Requirement
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins
from deploy_manager.row_checks import check_row

logger = logging.getLogger(__name__)


def pins_of(environment: Environment) -> tuple[Pin, ...]:
    """Return an environment's rows as pins, sorted by name.

    Raises PinError for a row that is not a pin, as rows are also written around the form.
    """
    pins = []
    for row in environment.requirements.all():
        for name, value in (("extras", row.extras), ("hashes", row.hashes)):
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise PinError(
                    _("%(site)s: the %(field)s of %(name)s are not a list of texts."),
                    site=environment,
                    field=name,
                    name=row.name,
                )
        pins.append(
            Pin(
                name=row.name,
                version=row.version,
                extras=tuple(row.extras),
                marker=row.marker,
                hashes=tuple(row.hashes),
                direct=row.direct,
                url=row.url,
            )
        )
    return tuple(pins)


def checked_pins_of(environment: Environment) -> tuple[Pin, ...]:
    """Return an environment's rows as pins that are safe to write to a file.

    Raises PinError, which names the environment and its first row that is not a pin.
    """
    for row in environment.requirements.all():
        try:
            check_row(row)
        except InvalidRow as error:
            raise PinError(
                _("%(environment)s's list of requirements: %(error)s"),
                environment=environment,
                error=error,
            ) from None
    return pins_of(environment)


# Many servers have the same few locks, and reading one takes 0.1 s.
@lru_cache(maxsize=64)
def pins_in(lock: str) -> tuple[Pin, ...]:
    """Return the pins of a lock that was installed; none if it is blank or can't be read.

    The latter is logged and not raised, since a release with such a lock may serve all the same
    and must be shown and replaced.
    """
    try:
        return read_pins(lock) if lock else ()
    except PinError as error:
        logger.warning("A lock can't be read, so nothing is compared with it: %s", error)
        return ()


@lru_cache(maxsize=64)
def pinned_in(lock: str) -> Mapping[str, Sequence[Pinned]]:
    """Return what a lock pins, by the names of packages; see `pins_in`."""
    pins: dict[str, list[Pinned]] = defaultdict(list)
    for pin in pins_in(lock):
        pins[pin.name].append(Pinned(pin.version, pin.marker))
    return dict(pins)


def replace_pins(environment: Environment, pins: Iterable[Pin]) -> None:
    """Make an environment list exactly these pins, in one transaction."""
    with transaction.atomic():
        before = _listed(environment)
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
                url=pin.url,
            )
            for pin in pins
        )
        if (after := _listed(environment)) != before:
            record_change(environment, before, after)


def _listed(environment: Environment) -> dict[str, str]:
    rows = environment.requirements.values_list("name", "marker", "version", "url")
    return {
        f"{name} ; {marker}" if marker else name: url or version
        for name, marker, version, url in rows
    }


def note_pins(deployment: Deployment) -> None:
    """List a deployed commit's pins on its environment, if its release serves on a server.

    Call it in the transaction that has ended the deployment.
    """
    environment = deployment.environment
    begun = Deployment.objects.filter(pk=deployment.pk, begin_number__gt=0)
    served = Release.objects.filter(deployments__in=begun, active_on__isnull=False)
    release = served.select_related("lock").first()
    if release is None:
        return
    try:
        pins = read_pins(release.lock.text)
        with transaction.atomic():
            from_commit = Environment.objects.filter(
                pk=environment.pk, pins_from=Environment.PinsFrom.COMMIT
            )
            # Asked in the database, by an UPDATE: who switches to a list of their own meanwhile
            # has either done so, or waits until this one is written.
            if from_commit.update(pins_from=Environment.PinsFrom.COMMIT):
                replace_pins(environment, pins)
    except (PinError, IntegrityError, DataError) as error:
        # The deployment has ended all the same: what can't be listed must not undo that.
        logger.warning("The pins of %s can't be listed: %s", deployment, error)
