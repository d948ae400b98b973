"""Upgrades: the list, and the page where one is watched, cancelled and handed back."""

import socket
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.forms import Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from deploy_manager.admin.addresses import COMMIT_URL_NAME, PATCH_URL_NAME, patch_url, upgrade_url
from deploy_manager.admin.badges import short_time, spell_duration, state_badge, upgrade_badge
from deploy_manager.admin.base import HistoryAdmin, ReasonFilter, shown_problems
from deploy_manager.admin.downloads import as_download, plain_refusal
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.models import (
    HostRun,
    Problem,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import may_on_any, visible

PAGE = "admin/deploy_manager/upgrade/page.html"


class ShownStage(NamedTuple):
    """An environment of an upgrade, with the states of its servers."""

    row: UpgradeStage
    badge: SafeString
    servers: tuple[tuple[str, SafeString], ...]
    """Names and states in the order of the rollout; none before it starts."""

    patch_url: str
    """Where its pins are a patch for the repository; blank if they are not kept there."""

    may_commit: bool


@admin.register(Upgrade)
class UpgradeAdmin(HistoryAdmin[Upgrade]):
    list_display = ("what", "state_shown", "where", "requested", "duration")
    list_display_links = ("what", "state_shown")
    list_filter = ("state", ReasonFilter, "source")
    search_fields = ("requested_by_name", "reason", "stages__environment__name")
    date_hierarchy = "created_at"

    class Media:
        js = [Script("deploy_manager/live.js", defer=True)]

    @admin.display(description=_("upgrade"))
    def what(self, upgrade: Upgrade) -> str:
        return str(upgrade)

    @admin.display(description=_("state"), ordering="state")
    def state_shown(self, upgrade: Upgrade) -> SafeString:
        badge = upgrade_badge(upgrade.state)
        if upgrade.state != UpgradeState.WAITING or not upgrade.message:
            return badge
        return format_html('{} <span class="dm-quiet dm-lines">{}</span>', badge, upgrade.message)

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
        return may_on_any(request, Right.UPGRADE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upgrade]:
        return super().get_queryset(request).prefetch_related("stages__environment__project")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        cancel_name = "deploy_manager_upgrade_cancel"
        return [
            path("<int:pk>/cancel/", wrap(self.cancel_view), name=cancel_name),
            path("patch/<int:stage_pk>/", wrap(self.patch_view), name=PATCH_URL_NAME),
            path("commit/<int:stage_pk>/", wrap(self.commit_view), name=COMMIT_URL_NAME),
            *super().get_urls(),
        ]

    def patch_view(self, request: HttpRequest, stage_pk: int) -> HttpResponse:
        """Send the pins of a stage as a patch for its repository, or say why there is none."""
        from deploy_manager.upgrades.handing_back import patch_of

        stage = _find_stage(request, stage_pk)
        try:
            patch = patch_of(stage)
        except DeployManagerError as error:
            return plain_refusal(error)
        name = f"upgrade-{stage.upgrade_id}-{stage.environment.name}.patch"
        return as_download(patch, name, "text/x-patch")

    @method_decorator(require_POST)
    def commit_view(self, request: HttpRequest, stage_pk: int) -> HttpResponse:
        """Keep the pins of a stage as a commit in the mirror, and say how to fetch it."""
        from deploy_manager.upgrades.handing_back import keep_as_commit

        stage = _find_stage(request, stage_pk)
        if not may(request.user, Right.UPGRADE, stage.environment):
            raise PermissionDenied
        try:
            fetch = keep_as_commit(stage)
        except DeployManagerError as error:
            messages.error(request, str(error))
        else:
            # The mirror is a folder of this machine, not of the reader's.
            text = gettext(
                "The pins are committed on %(host)s. Fetch them there, or from it over ssh://,"
                " with: %(fetch)s"
            )
            messages.success(request, text % {"host": socket.gethostname(), "fetch": fetch})
        return HttpResponseRedirect(upgrade_url(stage.upgrade_id))

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
        about_stages = Q(kind=UpgradeStage._meta.model_name, key__in=upgrade.stages.values("pk"))
        about_upgrade = Q(kind=Upgrade._meta.model_name, key=upgrade.pk)
        return self.render_page(
            request,
            PAGE,
            gettext("Upgrade %s") % upgrade,
            original=upgrade,
            upgrade=upgrade,
            badge=upgrade_badge(upgrade.state),
            stages=_stages(upgrade, request),
            problems=shown_problems(Problem.objects.filter(about_upgrade | about_stages)),
            duration=spell_duration(upgrade.created_at, upgrade.finished_at),
            may_cancel=upgrade.goes_forward and self._may_change(request, upgrade),
        )

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.upgrades.requests import cancel_upgrade

        upgrade = self._find(request, str(pk))
        if not self._may_change(request, upgrade):
            raise PermissionDenied
        if cancel_upgrade(upgrade, str(request.user)):
            self.log_change(request, upgrade, gettext("Cancelled."))
        else:
            messages.warning(
                request, gettext("Nothing was cancelled: it has ended, or is being rolled back.")
            )
        return HttpResponseRedirect(upgrade_url(upgrade.pk))

    def _find(self, request: HttpRequest, object_id: str) -> Upgrade:
        upgrade = self.get_object(request, object_id)
        if upgrade is None:
            raise Http404(gettext("There is no such upgrade."))
        return upgrade

    def _may_change(self, request: HttpRequest, upgrade: Upgrade) -> bool:
        stages = upgrade.stages.select_related("environment__project")
        return all(may(request.user, Right.UPGRADE, stage.environment) for stage in stages)


def _stages(upgrade: Upgrade, request: HttpRequest) -> list[ShownStage]:
    """Return each environment as the page shows it, in two queries however many there are."""
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
            servers=tuple(
                (run.server_name, state_badge(run.state))
                for run in (row.deployment.host_runs.all() if row.deployment else ())
            ),
            patch_url=patch_url(row) if row.pk in kept else "",
            may_commit=may(request.user, Right.UPGRADE, row.environment),
        )
        for row in rows
    ]


def _find_stage(request: HttpRequest, pk: int) -> UpgradeStage:
    """Return a stage of an environment that the user may see. Raises Http404."""
    stages = UpgradeStage.objects.select_related(
        "upgrade", "environment__project", "release_before", "lock_after", "deployment__release"
    )
    stage = visible(request, stages).filter(pk=pk).first()
    if stage is None:
        raise Http404(gettext("There is no such upgrade."))
    return stage
