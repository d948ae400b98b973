"""Requirements: the pins of an environment, to read and to mend one at a time."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.environment_filter import EnvironmentFilter
from deploy_manager.models import Requirement


@admin.register(Requirement)
class RequirementAdmin(StyledAdmin[Requirement]):
    list_display = ("name", "version", "environment", "marker", "direct", "hash_count")
    list_filter = (("environment", EnvironmentFilter), "direct")
    list_select_related = ("environment__project",)
    search_fields = ("name",)

    @admin.display(description=_("hashes"))
    def hash_count(self, requirement: Requirement) -> int:
        return len(requirement.hashes)
