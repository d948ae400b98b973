"""Advisories: known vulnerabilities, and the environments that are exposed to them now."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import start_upgrade_url
from deploy_manager.admin.badges import few
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    InstalledPackage,
    Requirement,
)
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import visible

if TYPE_CHECKING:
    from deploy_manager.packages.exposure import Exposure

PAGE = "admin/deploy_manager/advisory/page.html"
SHORT_SUMMARY = 120
"""Characters of a summary in the list."""

MOST_NAMES = 8
"""Names in a sentence, which counts all of them."""


class ExposedFilter(SimpleListFilter):
    """Filters advisories by whether an environment is exposed to them now."""

    title = _("exposed now")
    parameter_name = "exposed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Advisory]
    ) -> QuerySet[Advisory] | None:
        match self.value():
            case "yes":
                return queryset.filter(pk__in=exposed_by_advisory(request))
            case "no":
                return queryset.exclude(pk__in=exposed_by_advisory(request))
        return None


@admin.register(Advisory)
class AdvisoryAdmin(HistoryAdmin[Advisory]):
    list_filter = (ExposedFilter,)
    search_fields = ("identifier", "package", "summary", "aliases")
    change_list_template = "admin/deploy_manager/advisory/list.html"

    class Media:
        css = {"all": ["deploy_manager/packages.css"]}

    def get_list_display(
        self, request: HttpRequest
    ) -> tuple[str | Callable[[Advisory], str | bool], ...]:
        """Add counts of the environments and servers that this user may see."""

        @admin.display(description=_("environments"))
        def environments(advisory: Advisory) -> SafeString:
            return _counted(_exposed_to(request, advisory).environments)

        @admin.display(description=_("servers"))
        def servers(advisory: Advisory) -> SafeString:
            return _counted(_exposed_to(request, advisory).servers)

        return ("identifier", "package", "short_summary", "fixed", environments, servers)

    @admin.display(description=_("summary"), ordering="summary")
    def short_summary(self, advisory: Advisory) -> str:
        return Truncator(advisory.summary).chars(SHORT_SUMMARY)

    @admin.display(description=_("fixed in"))
    def fixed(self, advisory: Advisory) -> str:
        return ", ".join(advisory.first_fixed) or gettext("nothing yet")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": gettext("Advisories"), "unknown": describe_unknown(request)}
        return super().changelist_view(request, context | (extra_context or {}))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        advisory = self.get_object(request, object_id)
        if advisory is None:
            raise Http404(gettext("There is no such advisory."))
        # Advisories come from strangers: a javascript: URL must not become a link.
        is_web = urlsplit(advisory.url).scheme in ("http", "https")
        context = {
            "advisory": advisory,
            "link": advisory.url if is_web else "",
            "unknown": describe_unknown(request),
            **_describe_exposed(request, advisory),
            **(extra_context or {}),
        }
        return self.render_page(request, PAGE, advisory.identifier, **context)


@dataclass
class Exposed:
    """The environments and servers that are exposed to one advisory."""

    environments: set[int] = field(default_factory=set)
    servers: set[int] = field(default_factory=set)


def exposed_by_advisory(request: HttpRequest) -> dict[int, Exposed]:
    """Return the exposed environments and servers by the id of their advisory.

    Computed once per request, in the same number of queries for any number of advisories.
    """
    from deploy_manager.packages.exposure import vulnerable_packages

    known: dict[int, Exposed] | None = getattr(request, "_exposed_to", None)
    if known is None:
        # The filter and two columns of each row need it.
        known = defaultdict(Exposed)
        for exposure in _only_visible(request, vulnerable_packages()):
            servers = {each.server_id for each in exposure.placements}
            for advisory in exposure.advisories:
                known[advisory.pk].environments.add(exposure.environment.pk)
                known[advisory.pk].servers |= servers
        # A plain dict: an advisory that is only looked up must not be counted as exposed.
        known = dict(known)
        request._exposed_to = known  # type: ignore[attr-defined]
    return known


def _exposed_to(request: HttpRequest, advisory: Advisory) -> Exposed:
    return exposed_by_advisory(request).get(advisory.pk, Exposed())


def _counted(exposed: set[int]) -> SafeString:
    style = "dm-bad" if exposed else "dm-quiet"
    return format_html('<span class="{}">{}</span>', style, len(exposed))


def _visible_ids(request: HttpRequest) -> frozenset[int]:
    """Return the ids of the environments that the user may see, computed once per request."""
    known: frozenset[int] | None = getattr(request, "_environments_seen", None)
    if known is None:
        found = visible(request, Environment.objects.order_by())
        known = frozenset(found.values_list("pk", flat=True))
        request._environments_seen = known  # type: ignore[attr-defined]
    return known


def _only_visible(request: HttpRequest, found: "Iterable[Exposure]") -> "list[Exposure]":
    visible = _visible_ids(request)
    return [exposure for exposure in found if exposure.environment.pk in visible]


def _describe_exposed(request: HttpRequest, advisory: Advisory) -> dict[str, Any]:
    """Return the exposures that the user may see, and the page that upgrades them."""
    from deploy_manager.packages.exposure import exposures

    found = _only_visible(request, exposures(advisory))
    environments = list(dict.fromkeys(exposure.environment for exposure in found))
    mine = [each for each in environments if may(request.user, Right.UPGRADE, each)]
    # Only a fix that all of them need can be named; else each gets its own lowest one.
    fixes = {exposure.fixed_in for exposure in found}
    fix = fixes.pop() if len(fixes) == 1 else ""
    upgrade_url = ""
    if mine and any(exposure.fixed_in for exposure in found):
        upgrade_url = start_upgrade_url(
            [environment.pk for environment in mine],
            [advisory.package],
            reach="fix",
            version=fix,
            advisory=advisory.pk,
        )
    return {
        "exposed": found,
        "fix": fix,
        "upgrade_url": upgrade_url,
        "not_mine": [each for each in environments if each not in mine],
    }


def describe_unknown(request: HttpRequest) -> list[str]:
    """Return sentences about what is not known, which must not be mistaken for safe."""
    visible = _visible_ids(request)
    by_reason: dict[str, set[str]] = defaultdict(set)
    for name, version, problem in _unknown_versions(visible):
        by_reason[problem].add(f"{name}=={version}")
    sentences = []
    for reason, versions in sorted(by_reason.items()):
        text = ngettext(
            "%(count)d version could not be checked: %(versions)s. %(reason)s",
            "%(count)d versions could not be checked: %(versions)s. %(reason)s",
            len(versions),
        )
        values = {
            "count": len(versions),
            "versions": few(sorted(versions), MOST_NAMES),
            "reason": reason or gettext("It has not been checked yet."),
        }
        sentences.append(text % values)
    return [*sentences, *_describe_unseen(visible)]


def _unknown_versions(visible: frozenset[int]) -> Iterator[tuple[str, str, str]]:
    """Yield names and versions in use that were not checked completely, and why."""
    same = AuditedVersion.objects.filter(name=OuterRef("name"), version=OuterRef("version"))
    checked = Exists(same.checked())
    used = (
        InstalledPackage.objects.filter(~checked, placement__environment__in=visible),
        Requirement.objects.filter(~checked, environment__in=visible),
    )
    # order_by() drops the models' ordering, whose columns would make rows distinct again.
    pairs = {
        pair for rows in used for pair in rows.order_by().values_list("name", "version").distinct()
    }
    rows = AuditedVersion.objects.exclude(problem="").values_list("name", "version", "problem")
    problems = {(name, version): problem for name, version, problem in rows}
    for name, version in pairs:
        yield name, version, str(problems.get((name, version), ""))


def _describe_unseen(visible: frozenset[int]) -> Iterator[str]:
    """Yield a sentence about servers without known packages, which may be exposed to anything."""
    from deploy_manager.packages.exposure import unseen

    found = unseen(visible).order_by("server__name").values_list("server__name", flat=True)
    names = list(dict.fromkeys(found))
    if names:
        text = ngettext(
            "The packages of %(count)d server are not known: %(names)s.",
            "The packages of %(count)d servers are not known: %(names)s.",
            len(names),
        )
        yield text % {"count": len(names), "names": few(names, MOST_NAMES)}
