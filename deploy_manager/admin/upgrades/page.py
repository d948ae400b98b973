"""Upgrades: begun from packages, watched environment by environment, cancelled, kept as history."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.forms import Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from deploy_manager.admin.addresses import COMMIT_URL_NAME, PATCH_URL_NAME, patch_url, upgrade_url
from deploy_manager.admin.badges import short_time, spell_duration, state_badge
from deploy_manager.admin.base import HistoryAdmin
from deploy_manager.admin.permissions import may_deploy_any, may_see_any, visible_environments
from deploy_manager.admin.problems import shown_problems
from deploy_manager.models import (
    Environment,
    HostRun,
    Problem,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.problems import ProblemQuerySet
from deploy_manager.models.rights import may_deploy

PAGE = "admin/deploy_manager/upgrade/page.html"


def upgrade_badge(state: str) -> SafeString:
    """The state as text, with the icon and the colour that our style sheet has for it."""
    label = UpgradeState(state).label
    return format_html('<span class="dm-state" data-state="{}">{}</span>', state, label)


@dataclass(frozen=True)
class ShownStage:
    """An environment of an upgrade, and how far each of its servers is."""

    row: UpgradeStage
    badge: SafeString
    servers: tuple[tuple[str, SafeString], ...]
    """Names and states, in their turn; none before it begins."""

    patch_url: str
    """Where its pins are a patch for the repository; blank where they are not kept there."""

    may_commit: bool


@admin.register(Upgrade)
class UpgradeAdmin(HistoryAdmin[Upgrade]):
    list_display = ("what", "state_shown", "where", "requested", "duration")
    list_display_links = ("what", "state_shown")
    list_filter = ("state", "source")
    search_fields = ("requested_by_name", "reason", "stages__environment__name")
    date_hierarchy = "created_at"

    class Media:
        js = [Script("deploy_manager/upgrade.js", defer=True)]

    @admin.display(description=_("upgrade"))
    def what(self, upgrade: Upgrade) -> str:
        return str(upgrade)

    @admin.display(description=_("state"), ordering="state")
    def state_shown(self, upgrade: Upgrade) -> SafeString:
        return upgrade_badge(upgrade.state)

    @admin.display(description=_("environments"))
    def where(self, upgrade: Upgrade) -> str:
        return " → ".join(str(stage.environment) for stage in upgrade.stages.all())

    @admin.display(description=_("requested"), ordering="created_at")
    def requested(self, upgrade: Upgrade) -> str:
        return f"{short_time(upgrade.created_at)} {upgrade.requested_by_name}"

    @admin.display(description=_("duration"))
    def duration(self, upgrade: Upgrade) -> str:
        return spell_duration(upgrade.created_at, upgrade.finished_at)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_deploy_any(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or may_see_any(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_see_any(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upgrade]:
        """Leave out upgrades of environments that the user may not see."""
        hidden = Environment.objects.exclude(
            pk__in=visible_environments(request, Environment.objects.all()).values("pk")
        )
        stages = UpgradeStage.objects.filter(environment__in=hidden)
        found = super().get_queryset(request).exclude(stages__in=stages)
        return found.prefetch_related("stages__environment__project")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.cancel_view)
        name = "deploy_manager_upgrade_cancel"
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/cancel/", view, name=name),
            path("patch/<int:stage_pk>/", wrap(self.patch_view), name=PATCH_URL_NAME),
            path("commit/<int:stage_pk>/", wrap(self.commit_view), name=COMMIT_URL_NAME),
            *super().get_urls(),
        ]

    def patch_view(self, request: HttpRequest, stage_pk: int) -> HttpResponse:
        from deploy_manager.admin.upgrades.patch import patch_view

        return patch_view(request, stage_pk)

    @method_decorator(require_POST)
    def commit_view(self, request: HttpRequest, stage_pk: int) -> HttpResponse:
        from deploy_manager.admin.upgrades.patch import commit_view

        return commit_view(request, stage_pk)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        from deploy_manager.admin.upgrades.start import start_view

        return start_view(self, request)

    @method_decorator(never_cache)
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        upgrade = self._find(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Upgrade %s") % upgrade,
            "original": upgrade,
            "upgrade": upgrade,
            "badge": upgrade_badge(upgrade.state),
            "stages": _stages(upgrade, request),
            "problems": shown_problems(_problems_of(upgrade)),
            "duration": spell_duration(upgrade.created_at, upgrade.finished_at),
            "may_cancel": upgrade.is_live and self._may_change(request, upgrade),
        }
        return TemplateResponse(request, PAGE, context)

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.upgrades.requests import cancel_upgrade

        upgrade = self._find(request, str(pk))
        if not self._may_change(request, upgrade):
            raise PermissionDenied
        if cancel_upgrade(upgrade, str(request.user)):
            self.log_change(request, upgrade, gettext("Cancelled."))
        else:
            messages.warning(request, gettext("It had ended already."))
        return HttpResponseRedirect(upgrade_url(upgrade.pk))

    def _find(self, request: HttpRequest, object_id: str) -> Upgrade:
        upgrade = self.get_object(request, object_id)
        if upgrade is None:
            raise Http404(gettext("There is no such upgrade."))
        return upgrade

    def _may_change(self, request: HttpRequest, upgrade: Upgrade) -> bool:
        stages = upgrade.stages.select_related("environment__project")
        return all(may_deploy(request.user, stage.environment) for stage in stages)


def _stages(upgrade: Upgrade, request: HttpRequest) -> list[ShownStage]:
    """What the page shows of each environment, in two queries however many there are."""
    from deploy_manager.upgrades.handing_back import patchable

    rows = upgrade.stages.select_related(
        "environment__project", "deployment", "returned_by", "release_before"
    )
    in_turn = HostRun.objects.order_by("wave", "pk")
    rows = rows.prefetch_related(Prefetch("deployment__host_runs", in_turn))
    kept = set(patchable(upgrade.stages.all()).values_list("pk", flat=True))
    return [
        ShownStage(
            row=row,
            badge=upgrade_badge(row.state),
            servers=_servers(row),
            patch_url=patch_url(row) if row.pk in kept else "",
            may_commit=may_deploy(request.user, row.environment),
        )
        for row in rows
    ]


def _problems_of(upgrade: Upgrade) -> ProblemQuerySet:
    stages = Q(kind=UpgradeStage._meta.model_name, key__in=upgrade.stages.values("pk"))
    return Problem.objects.filter(Q(kind=Upgrade._meta.model_name, key=upgrade.pk) | stages)


def _servers(stage: UpgradeStage) -> tuple[tuple[str, SafeString], ...]:
    runs = stage.deployment.host_runs.all() if stage.deployment else ()
    return tuple((run.server_name, state_badge(run.state)) for run in runs)
