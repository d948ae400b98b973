"""Overrides: pins that upgrades hold over repositories, and the page that lets one go."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import upgrade_url
from deploy_manager.admin.badges import NONE, short_time
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.confirming import confirming
from deploy_manager.admin.forms import ReasonForm
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Override
from deploy_manager.models.rights import Right, may

TEMPLATE = "admin/deploy_manager/override/let_go.html"


class StandingFilter(admin.SimpleListFilter):
    title = _("whether it holds")
    parameter_name = "standing"

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Override]"
    ) -> list[tuple[str, Any]]:
        return [("live", _("holds")), ("ended", _("ended"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Override]) -> QuerySet[Override]:
        if self.value() not in ("live", "ended"):
            return queryset
        return queryset.filter(ended_at__isnull=self.value() == "live")


@admin.register(Override)
class OverrideAdmin(HistoryAdmin[Override]):
    list_display = ("package", "environment", "had", "since_shown", "reason", "of", "state")
    list_display_links = ("package",)
    list_filter = (
        "environment",
        StandingFilter,
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
        found = super().get_queryset(request)
        return found.select_related("environment__project", "upgrade")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.let_go_view)
        name = "deploy_manager_override_let_go"
        return [path("<int:pk>/let-go/", view, name=name), *super().get_urls()]

    @admin.display(description=_("package"), ordering="name")
    def package(self, override: Override) -> str:
        return f"{override.name} {override.version or gettext('removed')}"

    @admin.display(description=_("repository had"))
    def had(self, override: Override) -> str:
        return override.before_text or NONE

    @admin.display(description=_("since"), ordering="since")
    def since_shown(self, override: Override) -> str:
        return short_time(override.since)

    @admin.display(description=_("why"))
    def reason(self, override: Override) -> SafeString:
        fixes = gettext("fixes %s") % override.fixes_text if override.fixes_text else ""
        return format_html('{} <span class="dm-added">{}</span>', override.why, fixes)

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

    def page_context(self, request: HttpRequest, override: Override) -> dict[str, Any]:
        if not override.is_live or not may(request.user, Right.CHANGE, override.environment):
            return {}
        return {"let_go_url": reverse("admin:deploy_manager_override_let_go", args=[override.pk])}

    def let_go_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show which pin would come back; let the overrides go on a POST with a reason."""
        from deploy_manager.packages.overrides import let_go, what_comes_back

        override = self.get_queryset(request).filter(pk=pk).first()
        if override is None:
            raise Http404(gettext("There is no such override."))
        if not may(request.user, Right.CHANGE, override.environment):
            raise PermissionDenied
        data = request.POST if request.method == "POST" else None
        form = ReasonForm(data, gettext("Kept in the history."))
        if not form.is_valid():
            change = what_comes_back(override.environment, override.name)
            return self.render_page(
                request,
                TEMPLATE,
                gettext("Let an override go"),
                subtitle=str(override),
                original=override,
                change=change,
                changes=[change],
                form=form,
            )
        name, reason = override.name, form.cleaned_data["reason"]
        try:
            with confirming(request, override.environment):
                let_go(override.environment, name, by=str(request.user), reason=reason)
        except RequestRefused as error:
            messages.error(request, str(error))
        else:
            self.log_change(request, override, gettext("Let go: %(why)s") % {"why": reason})
            text = gettext(
                "The override of %(name)s is let go: the next deployment uses the repository's pin."
            )
            messages.success(request, text % {"name": name})
        address = reverse("admin:deploy_manager_override_change", args=[override.pk])
        return HttpResponseRedirect(address)
