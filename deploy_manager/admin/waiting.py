"""The page that waits for a worker's answer, and is then replaced by the page that shows it."""

from typing import Any

from django.forms import Media, Script
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import spell_duration
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.models import Resolution

TEMPLATE = "admin/deploy_manager/waiting.html"
UNUSUAL_AFTER = 5
"""Seconds that a question waits for a worker before the page says what may be wrong."""


def waiting_page(
    admin: StyledAdmin[Any], request: HttpRequest, asked: Resolution, title: str, **context: Any
) -> HttpResponse:
    """Show how far a worker is; the page polls until there is an answer.

    The context has `back_url`, the address of "Cancel".
    """
    is_queued = asked.state == Resolution.State.QUEUED
    if is_queued:
        text = _("queued: no worker has taken it yet")
    else:
        text = _("running for %(time)s") % {"time": spell_duration(asked.started_at, None)}
    waits = (timezone.now() - asked.created_at).total_seconds()
    # Only on this page: the admin's other pages do not wait.
    script = Script("deploy_manager/live.js", defer=True)
    context["media"] = admin.media + Media(js=[script])  # type: ignore[list-item]
    response = admin.render_page(
        request,
        TEMPLATE,
        title,
        asked=asked,
        text=text,
        is_late=is_queued and waits > UNUSUAL_AFTER,
        **context,
    )
    add_never_cache_headers(response)
    return response
