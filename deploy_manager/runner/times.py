"""When a release may change: freezes and windows."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from deploy_manager.models import Environment
from deploy_manager.recipes import Story, Uses
from deploy_manager.times import is_open, next_opening, parse_windows

ROLLBACK = "rollback"


def why_not_now(environment: Environment, story: Story, at: datetime) -> str:
    """Why a story may not begin at this moment; blank: nothing speaks against it.

    What changes no release, like maintenance, may at any time; a rollback waits for no window.
    """
    if story.uses is Uses.CURRENT:
        return ""
    if environment.is_frozen:
        return environment.describe_freeze()
    windows = parse_windows(environment.windows)
    if story.name == ROLLBACK or is_open(windows, environment.time_zone, at):
        return ""
    zone = ZoneInfo(environment.time_zone)
    opens = next_opening(windows, environment.time_zone, at).astimezone(zone)
    return _("%(site)s may be changed at its allowed times only: next %(opens)s.") % {
        "site": environment,
        "opens": f"{opens:%Y-%m-%d %H:%M %Z}",
    }
