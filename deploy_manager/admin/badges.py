"""Small pieces of the pages: states, commits, times and durations, as safe HTML or plain text."""

from datetime import datetime, timedelta

from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.models import Deployment, State

SHORT = 8
"""Letters of a commit's hash that people read."""


def state_badge(state: str) -> SafeString:
    """The state as text, with the icon and the colour that our style sheet has for it."""
    return format_html(
        '<span class="dm-state" data-state="{}">{}</span>', state, State(state).label
    )


def short_commit(commit: str) -> SafeString:
    """The beginning of a commit's hash; the whole of it where the mouse rests."""
    return format_html('<code class="dm-commit" title="{}">{}</code>', commit, commit[:SHORT])


def short_time(moment: datetime | None) -> str:
    """A moment in the reader's own time and format; blank where there is none."""
    return date_format(timezone.localtime(moment), "SHORT_DATETIME_FORMAT") if moment else ""


def spell_duration(started: datetime | None, finished: datetime | None) -> str:
    """How long it took, or takes so far, like `1 min 12 s`; blank where it never began."""
    if started is None:
        return ""
    took = (finished or timezone.now()) - started
    return _spell(max(took, timedelta()))


def _spell(took: timedelta) -> str:
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


def deployment_url(pk: int) -> str:
    return reverse("admin:deploy_manager_deployment_change", args=[pk])


def deployment_link(deployment: Deployment) -> SafeString:
    """`#12 deploy`, leading to the deployment's page."""
    return format_html(
        '<a href="{}">#{} {}</a>', deployment_url(deployment.pk), deployment.pk, deployment.recipe
    )
