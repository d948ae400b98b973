"""Projects: code bases, each with its environments."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.confirming import ConfirmingAdmin
from deploy_manager.logs import mask_text
from deploy_manager.models import Environment, Project
from deploy_manager.visibility import visible


@admin.register(Project)
class ProjectAdmin(ConfirmingAdmin[Project]):
    list_display = ("name", "repository_shown", "folder", "requirements_file", "environment_list")
    search_fields = ("name", "repository")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        seen = Q(environments__in=visible(request, Environment.objects.order_by()))
        count = Count("environments", filter=seen)
        return super().get_queryset(request).annotate(environment_count=count)

    def has_change_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return self._may(request, "change", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        return self._may(request, "delete", obj)

    def _may(self, request: HttpRequest, verb: str, project: Project | None) -> bool:
        user: Any = request.user
        right = f"deploy_manager.{verb}_project"
        return user.has_perm(right) or (project is not None and user.has_perm(right, project))

    @admin.display(description=_("repository"), ordering="repository")
    def repository_shown(self, project: Project) -> str:
        """Masked: a row that was written around the form may have a password in it."""
        return mask_text(project.repository)

    @admin.display(description=_("environments"), ordering="environment_count")
    def environment_list(self, project: Project) -> SafeString:
        url = reverse("admin:deploy_manager_environment_changelist")
        return format_html(
            '<a href="{}?project__id__exact={}">{}</a>',
            url,
            project.pk,
            project.environment_count,  # type: ignore[attr-defined]
        )
