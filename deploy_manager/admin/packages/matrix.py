"""The matrix of servers and packages: what is installed where, and what is the matter with it."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.permissions import may_see_any, visible_environments
from deploy_manager.models import Environment, InstalledPackage

TEMPLATE = "admin/deploy_manager/installedpackage/matrix.html"


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
        from deploy_manager.admin.packages.asking import look_again_view

        return look_again_view(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        from deploy_manager.admin.packages.page import make_context

        if not self.has_view_permission(request):
            raise PermissionDenied
        found = visible_environments(request, Environment.objects.select_related("project"))
        environments = list(found)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": _("Packages on servers"),
            **make_context(request, environments),
            **(extra_context or {}),
        }
        return TemplateResponse(request, TEMPLATE, context)
