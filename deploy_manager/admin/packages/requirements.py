"""Requirements: the pins of environments, to view and to edit one at a time."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import start_upgrade_url
from deploy_manager.admin.base import KeepingForm
from deploy_manager.admin.confirming import ConfirmingAdmin
from deploy_manager.models import Requirement
from deploy_manager.models.rights import Right
from deploy_manager.models.shapes import texts_in
from deploy_manager.visibility import may_on, may_on_any


@admin.register(Requirement)
class RequirementAdmin(ConfirmingAdmin[Requirement]):
    list_display = ("name", "version", "environment", "marker", "direct", "hash_count")
    list_filter = ("environment", "direct")
    list_select_related = ("environment__project",)
    search_fields = ("name",)
    actions = ("upgrade_packages",)
    form = KeepingForm
    choices_need = {"environment": Right.CHANGE}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_on_any(request, Right.CHANGE)

    def has_change_permission(self, request: HttpRequest, obj: Requirement | None = None) -> bool:
        """Pins are changed by whoever may change the environment that they are installed in."""
        return may_on(request, Right.CHANGE, obj.environment if obj else None)

    def has_delete_permission(self, request: HttpRequest, obj: Requirement | None = None) -> bool:
        return may_on(request, Right.CHANGE, obj.environment if obj else None)

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        if not may_on_any(request, Right.UPGRADE):
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
        return len(texts_in(requirement.hashes))
