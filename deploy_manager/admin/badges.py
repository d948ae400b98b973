"""Small pieces of pages: states, commits, times, durations, names; as safe HTML or plain text."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.addresses import deployment_url
from deploy_manager.models import CommitStatus, Deployment, State, UpgradeState

SHORT = 8
"""Characters of a commit's hash that people read."""

NONE = "\N{EN DASH}"
"""Shown in place of a version that does not exist."""


def state_badge(state: str) -> SafeString:
    """Return a deployment's, server's or step's state with its icon and colour."""
    return _badge(state, str(State(state).label))


def upgrade_badge(state: str) -> SafeString:
    """Return the state of an upgrade or of its stage with its icon and colour."""
    return _badge(state, str(UpgradeState(state).label))


def check_badge(state: str) -> SafeString:
    """Return what is known of a check of the CI, with an icon and a colour; blank: nothing is."""
    shown = {"success": State.SUCCEEDED, "failure": State.FAILED, "pending": State.RUNNING}
    label = CommitStatus.Outcome(state).label if state else _("not reported")
    return _badge(shown.get(state, State.WAITING), str(label))


def _badge(state: str, label: str) -> SafeString:
    return format_html('<span class="dm-state" data-state="{}">{}</span>', state, label)


def short_commit(commit: str) -> SafeString:
    """Return the beginning of a commit's hash, with the whole of it as a tooltip."""
    return format_html('<code class="dm-commit" title="{}">{}</code>', commit, commit[:SHORT])


def short_time(moment: datetime | None) -> str:
    """Return a moment in the reader's time zone and format; blank for None."""
    return date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT") if moment else ""


def few(names: Sequence[str], most: int) -> str:
    """Return the first names, with an ellipsis if there are more of them."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def spell_duration(started: datetime | None, finished: datetime | None) -> str:
    """Return how long something took, or has taken so far, like `1 min 12 s`.

    Blank if it has not started. `spell` in deployment.js goes on counting in the same format.
    """
    if started is None:
        return ""
    # Two machines wrote the times: clocks that differ must not show a negative duration.
    took = max((finished or timezone.now()) - started, timedelta())
    seconds = took.total_seconds()
    if seconds < 10:
        return _("%(seconds)s s") % {"seconds": number_format(seconds, 1)}
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    if minutes:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    return _("%(seconds)d s") % {"seconds": rest}


def deployment_link(deployment: Deployment) -> SafeString:
    """Return `#12 deploy` as a link to the deployment's page."""
    return format_html(
        '<a href="{}">#{} {}</a>', deployment_url(deployment.pk), deployment.pk, deployment.recipe
    )
