"""The page that waits for a worker's answer, and becomes the page that shows it."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.forms import Media, Script
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import spell_duration
from deploy_manager.models import Resolution

TEMPLATE = "admin/deploy_manager/waiting.html"
UNUSUAL_AFTER = 5
"""Seconds that a question waits for a worker before the page says what may be wrong."""


def waiting_page(
    admin: "ModelAdmin[Any]", request: HttpRequest, asked: Resolution, **context: Any
) -> HttpResponse:
    """Show how far a worker is; the page asks for itself again until there is an answer.

    The context has its `title`, and `back_url`, the address of "Cancel".
    """
    script = Script("deploy_manager/waiting.js", defer=True)
    waits = (timezone.now() - asked.created_at).total_seconds()
    response = TemplateResponse(
        request,
        TEMPLATE,
        {
            **admin.admin_site.each_context(request),
            "opts": admin.opts,
            "media": admin.media + Media(js=[script]),  # type: ignore[list-item]
            "asked": asked,
            "words": _words(asked),
            "is_late": asked.state == Resolution.State.QUEUED and waits > UNUSUAL_AFTER,
            **context,
        },
    )
    add_never_cache_headers(response)
    return response


def _words(asked: Resolution) -> str:
    if asked.state == Resolution.State.QUEUED:
        return _("queued: no worker has taken it yet")
    return _("running for %(time)s") % {"time": spell_duration(asked.started_at, None)}
