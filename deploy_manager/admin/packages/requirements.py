"""Requirements: the pins of environments, to view and to edit one at a time."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import start_upgrade_url
from deploy_manager.admin.base import EnvironmentFilter
from deploy_manager.admin.confirming import ConfirmingAdmin
from deploy_manager.admin.permissions import may_deploy_any
from deploy_manager.models import Requirement


@admin.register(Requirement)
class RequirementAdmin(ConfirmingAdmin[Requirement]):
    list_display = ("name", "version", "environment", "marker", "direct", "hash_count")
    list_filter = (("environment", EnvironmentFilter), "direct")
    list_select_related = ("environment__project",)
    search_fields = ("name",)
    actions = ("upgrade_packages",)

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        if not may_deploy_any(request):
            known.pop("upgrade_packages", None)
        return known

    @admin.action(description=_("Upgrade…"))
    def upgrade_packages(self, request: HttpRequest, queryset: QuerySet[Requirement]) -> Any:
        """Redirect to the page that starts an upgrade of these packages in their environments."""
        chosen = list(queryset.order_by("name").values_list("name", "environment"))
        names = dict.fromkeys(name for name, _environment in chosen)
        environments = dict.fromkeys(sorted({environment for _name, environment in chosen}))
        return HttpResponseRedirect(start_upgrade_url(environments, names))

    @admin.display(description=_("hashes"))
    def hash_count(self, requirement: Requirement) -> int:
        return len(requirement.hashes)
