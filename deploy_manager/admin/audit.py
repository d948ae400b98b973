"""The audit in the admin: searched, filtered, exported; changed by nobody."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from deploy_manager.admin.addresses import deployment_url
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.downloads import stream_download
from deploy_manager.admin.retention import retention_view
from deploy_manager.auditing import as_csv, as_json_lines
from deploy_manager.models import AuditEvent
from deploy_manager.models.audit import AuditEventQuerySet

FORMS = {"csv": as_csv, "jsonl": as_json_lines}
"""The forms of an export, by their ending."""

MOST_SHOWN = 4
"""Columns that a list shows of an event."""


@admin.register(AuditEvent)
class AuditEventAdmin(HistoryAdmin[AuditEvent]):
    is_seen_by_own_right = True
    list_display = ("what", "who_shown", "first_differences", "at", "ran")
    list_display_links = ("what",)
    list_filter = ("action", "kind", "source")
    search_fields = ("who", "name", "address")
    date_hierarchy = "at"
    fields = (
        "at",
        "who",
        "source",
        "address",
        "action",
        "kind",
        "key",
        "name",
        "differences",
        "ran",
    )
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export_view)
        return [
            path("export/<slug:form>/", export, name="deploy_manager_auditevent_export"),
            path(
                "retention/",
                self.admin_site.admin_view(partial(retention_view, self)),
                name="deploy_manager_auditevent_retention",
            ),
            *super().get_urls(),
        ]

    def export_view(self, request: HttpRequest, form: str) -> HttpResponseBase:
        """Send what the list's filters leave, the oldest first, as CSV or JSON lines."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if form not in FORMS:
            raise Http404
        chosen = self.get_changelist_instance(request).get_queryset(request)
        return stream_download(FORMS[form](cast(AuditEventQuerySet, chosen)), f"audit.{form}")

    @admin.display(description=_("what"), ordering="name")
    def what(self, event: AuditEvent) -> SafeString:
        return format_html(
            '{} <span class="dm-quiet">{}<br>{}</span>', event.name, event.action, event.kind
        )

    @admin.display(description=_("who"), ordering="who")
    def who_shown(self, event: AuditEvent) -> SafeString:
        return format_html(
            '{} <span class="dm-quiet">{}<br>{}</span>', event.who, event.source, event.address
        )

    @admin.display(description=_("before and after"))
    def differences(self, event: AuditEvent) -> SafeString:
        return _differences(event, _columns(event))

    @admin.display(description=_("before and after"))
    def first_differences(self, event: AuditEvent) -> SafeString:
        """Return some of them: a row that was added has a value in every column."""
        names = _columns(event)
        left = len(names) - MOST_SHOWN
        shown = _differences(event, names[:MOST_SHOWN])
        if left <= 0:
            return shown
        more = ngettext("and %(count)d more", "and %(count)d more", left) % {"count": left}
        return format_html('{}<div class="dm-quiet">{}</div>', shown, more)

    @admin.display(description=_("ran"), ordering="deployment_number")
    def ran(self, event: AuditEvent) -> SafeString | str:
        if event.deployment_number is None:
            return ""
        number = event.deployment_number
        return format_html('<a href="{}">#{}</a>', deployment_url(number), number)


def _columns(event: AuditEvent) -> list[str]:
    # A row that was written around the app may have anything there.
    sides = (side for side in (event.before, event.after) if isinstance(side, dict))
    return sorted({name for side in sides for name in side})


def _differences(event: AuditEvent, names: Sequence[str]) -> SafeString:
    return format_html_join(
        "",
        '<div><span class="dm-quiet">{}:</span> <del>{}</del> <ins>{}</ins></div>',
        ((name, _in_words(event.before, name), _in_words(event.after, name)) for name in names),
    )


def _in_words(values: dict[str, Any], name: str) -> str:
    value = values.get(name) if isinstance(values, dict) else None
    if value in (None, "", [], {}):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
