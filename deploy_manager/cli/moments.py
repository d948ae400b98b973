"""Points in time as people type them: `2026-11-24 02:00`, by the clock of a time zone."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from django.utils import timezone

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment
from deploy_manager.schedule.windows import check_zone

SHAPE = "2026-11-24 02:00, or with an offset 2026-11-24 02:00+01:00"


def parse_moment(text: str, environment: Environment) -> datetime:
    """Return a moment to come. Without an offset it is one of the environment's own clock.

    Raises RequestRefused for what is no moment, has passed, or what the clock shows twice or never.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or ":" not in text:
        raise RequestRefused(f"{text!r} is no date and time: write it like {SHAPE}.")
    if moment.tzinfo is None:
        try:
            zone = check_zone(environment.time_zone)
        except ValueError as error:
            raise RequestRefused(f"The clock of {environment} can't be read: {error}") from None
        moment = _on_the_clock(moment, zone)
    if moment <= timezone.now():
        raise RequestRefused(f"{describe_moment(moment, environment)} has passed already.")
    return moment


def describe_moment(moment: datetime, environment: Environment) -> str:
    """Return a moment by the environment's own clock; in UTC where this machine has no such zone.

    What is only shown fails on no row that was written around the form.
    """
    try:
        zone: tzinfo = check_zone(environment.time_zone)
    except ValueError:
        zone = UTC
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"


def _on_the_clock(local: datetime, zone: ZoneInfo) -> datetime:
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    written = [f"{each:%Y-%m-%d %H:%M%z}" for each in (first, second)]
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        raise RequestRefused(
            f"{local:%Y-%m-%d %H:%M} comes twice in {zone}: write {' or '.join(written)}."
        )
    raise RequestRefused(
        f"{local:%Y-%m-%d %H:%M} never comes in {zone}: the clocks are put forward over it."
    )
