"""Advisories: what is known against packages, and who is exposed to it now."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.packages.exposure import (
    NOBODY,
    count_exposed,
    leave_visible,
    tell_unknown,
)
from deploy_manager.admin.permissions import may_see_any
from deploy_manager.admin.upgrades.link import upgrade_link
from deploy_manager.models import Advisory, Environment
from deploy_manager.models.rights import may_deploy

if TYPE_CHECKING:
    from deploy_manager.packages.exposure import Exposure

PAGE = "admin/deploy_manager/advisory/page.html"
SHORT_SUMMARY = 120
"""Characters of a summary in the list."""


class ExposedFilter(SimpleListFilter):
    """Advisories that an environment is exposed to now."""

    title = _("exposed now")
    parameter_name = "exposed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Advisory]
    ) -> QuerySet[Advisory] | None:
        match self.value():
            case "yes":
                return queryset.filter(pk__in=count_exposed(request))
            case "no":
                return queryset.exclude(pk__in=count_exposed(request))
        return None


@admin.register(Advisory)
class AdvisoryAdmin(HistoryAdmin[Advisory]):
    list_filter = (ExposedFilter,)
    search_fields = ("identifier", "package", "summary", "aliases")
    change_list_template = "admin/deploy_manager/advisory/list.html"

    class Media:
        css = {"all": ["deploy_manager/packages.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or may_see_any(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_see_any(request)

    def get_list_display(
        self, request: HttpRequest
    ) -> tuple[str | Callable[[Advisory], str | bool], ...]:
        """With the counts of the environments that this user may see."""

        @admin.display(description=_("environments"))
        def environments(advisory: Advisory) -> SafeString:
            return _shown(len(count_exposed(request).get(advisory.pk, NOBODY).environments))

        @admin.display(description=_("servers"))
        def servers(advisory: Advisory) -> SafeString:
            return _shown(len(count_exposed(request).get(advisory.pk, NOBODY).servers))

        return ("identifier", "package", "told", "fixed", environments, servers)

    @admin.display(description=_("summary"), ordering="summary")
    def told(self, advisory: Advisory) -> str:
        return Truncator(advisory.summary).chars(SHORT_SUMMARY)

    @admin.display(description=_("fixed in"))
    def fixed(self, advisory: Advisory) -> str:
        return ", ".join(advisory.first_fixed) or gettext("nothing yet")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": gettext("Advisories"), "unknown": tell_unknown(request)}
        return super().changelist_view(request, context | (extra_context or {}))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        advisory = self.get_object(request, object_id)
        if advisory is None:
            raise Http404(gettext("There is no such advisory."))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": advisory.identifier,
            "advisory": advisory,
            "link": _web_address(advisory.url),
            "unknown": tell_unknown(request),
            **_exposed(request, advisory),
            **(extra_context or {}),
        }
        return TemplateResponse(request, PAGE, context)


def _exposed(request: HttpRequest, advisory: Advisory) -> dict[str, Any]:
    """Who is exposed of those that the user may see, and where their upgrade begins."""
    from deploy_manager.packages.exposure import exposures

    found = leave_visible(request, exposures(advisory))
    environments = list(dict.fromkeys(exposure.environment for exposure in found))
    mine = [each for each in environments if may_deploy(request.user, each)]
    return {
        "exposed": found,
        "fix": _lowest_fix(found),
        "upgrade_url": _upgrade_url(advisory, found, mine),
        "not_mine": [each for each in environments if each not in mine],
    }


def _shown(count: int) -> SafeString:
    return format_html('<span class="{}">{}</span>', "dm-bad" if count else "dm-quiet", count)


def _lowest_fix(found: "list[Exposure]") -> str:
    """The version that all exposed need; blank where they need different ones, or there is none."""
    fixes = {exposure.fixed_in for exposure in found}
    return fixes.pop() if len(fixes) == 1 else ""


def _upgrade_url(advisory: Advisory, found: "list[Exposure]", mine: list[Environment]) -> str:
    """Where the upgrade of all that are exposed begins; blank where it would find nothing."""
    if not mine or not any(exposure.fixed_in for exposure in found):
        return ""
    return upgrade_link(
        advisory.package,
        [environment.pk for environment in mine],
        reach="fix",
        version=_lowest_fix(found),
        advisory=advisory.pk,
    )


def _web_address(url: str) -> str:
    """The address, where it is one of the web: what else an advisory names is no link."""
    return url if urlsplit(url).scheme in ("http", "https") else ""
