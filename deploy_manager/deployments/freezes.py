"""When a release may change: freezes and windows."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import TimesUnreadable
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Environment
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.validators import validate_windows
from deploy_manager.recipes import Pipeline, Uses
from deploy_manager.schedule.windows import is_open, next_opening, parse_windows


def why_not_now(environment: Environment, pipeline: Pipeline, at: datetime) -> Message:
    """Return why a pipeline may not begin at this moment; blank: it may.

    One that changes no release, like maintenance, may at any time; a rollback waits for no window.
    Raises TimesUnreadable.
    """
    return _why_not(environment, pipeline.name, pipeline.uses, at)


def why_not_begin(deployment: Deployment) -> Message:
    """Return why a queued deployment may not begin any more; blank: it may."""
    try:
        return _why_not(
            deployment.environment, deployment.recipe, Uses(deployment.uses), timezone.now()
        )
    except TimesUnreadable:
        # It begins, and is refused: such a row is named before any server is touched.
        return Message()


def _why_not(environment: Environment, recipe: str, uses: Uses, at: datetime) -> Message:
    if uses is Uses.CURRENT:
        return Message()
    if freeze := environment.active_freeze:
        return freeze.describe()
    # Below the freeze, which holds for rollbacks as well.
    if recipe == ROLLBACK:
        return Message()
    try:
        # Rows are written around forms, too, and a zone may be one that this machine doesn't know.
        validate_windows(environment.windows)
        windows = parse_windows(environment.windows)
        if is_open(windows, environment.time_zone, at):
            return Message()
        opens = next_opening(windows, environment.time_zone, at)
        opens = opens.astimezone(ZoneInfo(environment.time_zone))
    except (ValidationError, ValueError) as error:
        why = " ".join(error.messages) if isinstance(error, ValidationError) else error
        raise TimesUnreadable(
            _("The allowed times of %(site)s can't be read: %(why)s"), site=environment, why=why
        ) from None
    return Message(
        _("%(site)s may be changed at its allowed times only: next %(opens)s."),
        site=environment,
        opens=f"{opens:%Y-%m-%d %H:%M %Z}",
    )
