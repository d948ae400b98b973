"""Overrides: what upgrades hold over repositories, why, and how it ended."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import upgrade_url
from deploy_manager.admin.badges import short_time
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.environment_filter import EnvironmentFilter
from deploy_manager.admin.permissions import may_see, may_see_any, visible_environments
from deploy_manager.models import Environment, Override
from deploy_manager.models.rights import may_deploy

NONE = "\N{EN DASH}"


@admin.register(Override)
class OverrideAdmin(HistoryAdmin[Override]):
    list_display = ("package", "environment", "had", "since_shown", "reason", "of", "state")
    list_display_links = ("package",)
    list_filter = (
        ("environment", EnvironmentFilter),
        ("ended_at", admin.EmptyFieldListFilter),
        "ended_how",
    )
    search_fields = ("name", "why")
    fields = (
        "environment",
        "package",
        "marker",
        "extras",
        "hashes",
        "had",
        "why",
        "fixes",
        "since",
        "of",
        "state",
        "ended_at",
        "ended_why",
        "ended_by_name",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Override]:
        known = visible_environments(request, Environment.objects.all())
        found = super().get_queryset(request).filter(environment__in=known)
        return found.select_related("environment__project", "upgrade")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_see_any(request)

    def has_view_permission(self, request: HttpRequest, obj: Override | None = None) -> bool:
        return may_see_any(request) if obj is None else may_see(request.user, obj.environment)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.let_go_view)
        name = "deploy_manager_override_let_go"
        return [path("<int:pk>/let-go/", view, name=name), *super().get_urls()]

    @admin.display(description=_("package"), ordering="name")
    def package(self, override: Override) -> str:
        return f"{override.name} {override.version or gettext('removed')}"

    @admin.display(description=_("repository had"))
    def had(self, override: Override) -> str:
        return override.before_told or NONE

    @admin.display(description=_("since"), ordering="since")
    def since_shown(self, override: Override) -> str:
        return short_time(override.since)

    @admin.display(description=_("why"))
    def reason(self, override: Override) -> SafeString:
        told = gettext("fixes %s") % override.fixes_told if override.fixes_told else ""
        return format_html('{} <span class="dm-added">{}</span>', override.why, told)

    @admin.display(description=_("upgrade"))
    def of(self, override: Override) -> SafeString | str:
        if override.upgrade is None:
            return NONE
        return format_html(
            '<a href="{}">{}</a>', upgrade_url(override.upgrade.pk), override.upgrade
        )

    @admin.display(description=_("state"))
    def state(self, override: Override) -> SafeString:
        if override.is_live:
            return format_html('<strong class="dm-mixed">{}</strong>', gettext("holds"))
        return format_html(
            '{} <span class="dm-quiet dm-lines">{}</span>',
            override.get_ended_how_display(),
            override.ended_why,
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        override = self.get_object(request, object_id)
        tools: dict[str, Any] = {}
        if override and override.is_live and may_deploy(request.user, override.environment):
            address = reverse("admin:deploy_manager_override_let_go", args=[override.pk])
            tools["let_go_url"] = address
        return super().change_view(request, object_id, form_url, tools | (extra_context or {}))

    def let_go_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.packages.letting_go import let_go_view

        found = self.get_queryset(request).filter(pk=pk)
        return let_go_view(self, request, found.first())
