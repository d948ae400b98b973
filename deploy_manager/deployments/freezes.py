"""When a release may change: freezes and windows."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from deploy_manager.exceptions import TimesUnreadable
from deploy_manager.models import Environment
from deploy_manager.models.validators import validate_windows
from deploy_manager.recipes import Pipeline, Uses
from deploy_manager.schedule.windows import is_open, next_opening, parse_windows

ROLLBACK = "rollback"


def why_not_now(environment: Environment, pipeline: Pipeline, at: datetime) -> str:
    """Why a pipeline may not begin at this moment; blank: nothing speaks against it.

    What changes no release, like maintenance, may at any time; a rollback waits for no window.
    Raises TimesUnreadable.
    """
    if pipeline.uses is Uses.CURRENT:
        return ""
    if environment.is_frozen:
        return environment.describe_freeze()
    if pipeline.name == ROLLBACK:
        return ""
    try:
        opens = _next_opening(environment, at)
    except (ValidationError, ValueError) as error:
        # Written around the form, or a zone that this machine does not know.
        why = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        raise TimesUnreadable(
            _("The allowed times of %(site)s can't be read: %(why)s")
            % {"site": environment, "why": why}
        ) from None
    if opens is None:
        return ""
    return _("%(site)s may be changed at its allowed times only: next %(opens)s.") % {
        "site": environment,
        "opens": f"{opens:%Y-%m-%d %H:%M %Z}",
    }


def _next_opening(environment: Environment, at: datetime) -> datetime | None:
    """Return when it may be changed next, by its own clock; None: now."""
    validate_windows(environment.windows)
    windows = parse_windows(environment.windows)
    if is_open(windows, environment.time_zone, at):
        return None
    zone = ZoneInfo(environment.time_zone)
    return next_opening(windows, environment.time_zone, at).astimezone(zone)
