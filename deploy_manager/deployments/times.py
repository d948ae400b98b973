"""Times and durations as people type them: `2026-11-24 02:00`, `10m`."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Environment
from deploy_manager.schedule.windows import check_zone

MOMENT_FORMAT = "2026-11-24 02:00, or with an offset 2026-11-24 02:00+01:00"
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])", re.ASCII)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST_DURATION = timedelta(days=3660)
FIRST_YEAR, LAST_YEAR = 2000, 9000
"""Beyond them a moment may have none in another time zone: Python's years end at 1 and 9999."""


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text like `30s`, `10m`, `2h` or `7d` means; `0` needs no unit.

    Raises ValueError for any other text, also for a number alone: options that count in different
    units would each read it differently.
    """
    if text == "0":
        return timedelta()
    found = DURATION.fullmatch(text)
    duration = timedelta(**{UNITS[found[2]]: float(found[1])}) if found else None
    if duration is None or duration > LONGEST_DURATION:
        raise ValueError(f"{text!r} is not a duration: write one like 30s, 10m, 2h or 7d.")
    return duration


def parse_moment(text: str, environment: Environment) -> datetime:
    """Return a moment in the future, read in the environment's time zone unless it has an offset.

    Raises RequestRefused for other text, for the past, and for a local time that occurs twice or
    never.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    # A date alone would mean midnight, at which few people want a deployment to start.
    if moment is None or ":" not in text:
        raise RequestRefused(
            _("%(text)r is not a date and time: write it like %(form)s."),
            text=text,
            form=MOMENT_FORMAT,
        )
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise RequestRefused(_("%(text)s is too far away."), text=repr(text))
    if moment.tzinfo is None:
        try:
            zone = check_zone(environment.time_zone)
        except ValueError as error:
            raise RequestRefused(
                _("The time zone of %(site)s cannot be used: %(why)s"), site=environment, why=error
            ) from None
        moment = _localize(moment, zone)
    if moment <= timezone.now():
        raise RequestRefused(
            _("%(moment)s is in the past."), moment=describe_moment(moment, environment)
        )
    return moment


def _localize(local: datetime, zone: ZoneInfo) -> datetime:
    # Python tells the two readings of a doubtful local time by `fold` (PEP 495): both offsets are
    # the same for any other time.
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    # A local time that exists survives the way to UTC and back; a skipped one does not.
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        both = " or ".join(f"{each:%Y-%m-%d %H:%M%z}" for each in (first, second))
        raise RequestRefused(
            _("%(moment)s occurs twice in %(zone)s: write %(both)s."),
            moment=f"{local:%Y-%m-%d %H:%M}",
            zone=zone,
            both=both,
        )
    raise RequestRefused(
        _("%(moment)s does not exist in %(zone)s: the clocks skip it. Choose another time."),
        moment=f"{local:%Y-%m-%d %H:%M}",
        zone=zone,
    )


def describe_moment(moment: datetime, environment: Environment) -> str:
    """Return a moment in the environment's time zone, or in UTC if this machine lacks the zone."""
    return f"{moment.astimezone(environment.zone):%Y-%m-%d %H:%M:%S %Z}"
