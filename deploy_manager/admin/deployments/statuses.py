"""Commit statuses: what the CI said of commits, to read."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.badges import check_badge, short_commit
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.models import CommitStatus


@admin.register(CommitStatus)
class CommitStatusAdmin(HistoryAdmin[CommitStatus]):
    list_display = ("short", "context", "outcome", "project", "at", "reported_by_name")
    list_display_links = ("short",)
    list_filter = ("project", "state")
    list_select_related = ("project",)
    search_fields = ("commit", "context")
    date_hierarchy = "at"
    fields = (
        *("project", "commit", "context", "outcome", "description", "link", "at"),
        "reported_by_name",
    )
    readonly_fields = fields

    @admin.display(description=_("commit"), ordering="commit")
    def short(self, row: CommitStatus) -> SafeString:
        return short_commit(row.commit)

    @admin.display(description=_("state"), ordering="state")
    def outcome(self, row: CommitStatus) -> SafeString:
        return check_badge(row.state)

    @admin.display(description=_("address"))
    def link(self, row: CommitStatus) -> SafeString | str:
        if not row.url.startswith(("https://", "http://")):
            return row.url  # written around forms: no address that a click may open
        return format_html('<a href="{}" rel="noreferrer">{}</a>', row.url, row.url)
