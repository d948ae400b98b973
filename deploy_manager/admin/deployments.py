"""Deployments: the history nobody edits, and the page where one is watched."""

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.badges import short_commit, spell_duration, state_badge
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.models import Deployment


@admin.register(Deployment)
class DeploymentAdmin(HistoryAdmin[Deployment]):
    list_display = (
        "number",
        "state_shown",
        "recipe",
        "environment",
        "commit_short",
        "requested_as",
        "door",
        "created_at",
        "duration",
    )
    list_filter = ("state", "environment", "recipe", "door")
    list_select_related = ("environment__project",)
    search_fields = ("requested_as", "commit", "ref", "reason")
    date_hierarchy = "created_at"

    @admin.display(description="#", ordering="pk")
    def number(self, deployment: Deployment) -> str:
        return f"#{deployment.pk}"

    @admin.display(description=_("state"), ordering="state")
    def state_shown(self, deployment: Deployment) -> SafeString:
        return state_badge(deployment.state)

    @admin.display(description=_("commit"), ordering="commit")
    def commit_short(self, deployment: Deployment) -> SafeString | str:
        return short_commit(deployment.commit) if deployment.commit else ""

    @admin.display(description=_("duration"))
    def duration(self, deployment: Deployment) -> str:
        return spell_duration(deployment.started_at, deployment.finished_at)
