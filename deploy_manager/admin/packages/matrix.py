"""The matrix of servers and packages: what is installed where, and what is the matter with it."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.packages.asking import look_again_view
from deploy_manager.admin.packages.cells import legend
from deploy_manager.admin.packages.facts import read_facts
from deploy_manager.admin.packages.filter import ALL, Asked, PackageFilter
from deploy_manager.admin.packages.rows import Row
from deploy_manager.admin.packages.summary import summarise
from deploy_manager.admin.packages.table import PackageTable, make_table
from deploy_manager.admin.permissions import may_see_any, visible_environments
from deploy_manager.models import Environment, InstalledPackage
from deploy_manager.runner import may_deploy

TEMPLATE = "admin/deploy_manager/installedpackage/matrix.html"
MOST_CELLS, MOST_CELLS_OF_ALL = 10_000, 40_000
"""Of one page: more are cut into pages of whole rows, as a browser takes a second for so many.

Who asks for all by name may want to search the page, and waits.
"""

FEWEST_ROWS = 25


@admin.register(InstalledPackage)
class InstalledPackageAdmin(HistoryAdmin[InstalledPackage]):
    """Its list is the matrix; one row of it by itself would say nothing more."""

    class Media:
        css = {"all": ["deploy_manager/packages.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may see an environment may see what is installed there, and there only."""
        return obj is None and may_see_any(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_see_any(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.look_again_view)
        name = "deploy_manager_installedpackage_look_again"
        return [path("look-again/", view, name=name), *super().get_urls()]

    @method_decorator(require_POST)
    def look_again_view(self, request: HttpRequest) -> HttpResponse:
        return look_again_view(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = visible_environments(request, Environment.objects.select_related("project"))
        environments = list(found)
        form = PackageFilter(request.GET, environments)
        asked = form.read()
        deployable = {each for each in environments if may_deploy(request.user, each)}
        facts = read_facts(asked.environments)
        table = make_table(facts, asked, deployable)
        page = _page(table, asked, request.GET.get("p", ""))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Packages on servers"),
            "form": form,
            "asked": asked,
            "table": table,
            "summary": summarise(table, facts, asked),
            "legend": legend(),
            "look_again_url": reverse("admin:deploy_manager_installedpackage_look_again"),
            "page": page,
            "lines": [(row.name, table.cells_of(row)) for row in page],
            **(extra_context or {}),
        }
        return TemplateResponse(request, TEMPLATE, context)


def _page(table: PackageTable, asked: Asked, number: str) -> Page[Row]:
    width = sum(group.width for group in table.groups)
    most = MOST_CELLS_OF_ALL if asked.only == ALL else MOST_CELLS
    rows = max(FEWEST_ROWS, most // max(width, 1))
    return Paginator(table.rows, rows).get_page(number or 1)
