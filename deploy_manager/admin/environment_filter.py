"""The filter by environment, for lists of what belongs to one."""

from typing import Any

from django.contrib.admin import ModelAdmin, RelatedFieldListFilter
from django.db.models import Field
from django.http import HttpRequest

from deploy_manager.admin.permissions import visible_environments
from deploy_manager.models import Environment


class EnvironmentFilter(RelatedFieldListFilter):
    """Names the environments that the user may see, in one query."""

    def field_choices(
        self, field: "Field[Any, Any]", request: HttpRequest, model_admin: "ModelAdmin[Any]"
    ) -> list[tuple[str, Any]]:
        found = visible_environments(request, Environment.objects.select_related("project"))
        return [(str(environment.pk), str(environment)) for environment in found]
