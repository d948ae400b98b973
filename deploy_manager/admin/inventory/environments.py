"""Environments: their settings, what they serve, and the actions that deploy them."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import JSONField, OuterRef, Prefetch, QuerySet, Subquery
from django.forms import Script, Textarea
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from deploy_manager.admin.addresses import ids_in, run_url, site_command_url
from deploy_manager.admin.automatic import act_on, back_to, shown_actor
from deploy_manager.admin.badges import deployment_link, state_badge
from deploy_manager.admin.base import shown_problems
from deploy_manager.admin.confirming import ConfirmingAdmin
from deploy_manager.admin.inventory.freezes import describe_freezes, freeze_view, frozen_mark
from deploy_manager.admin.inventory.inlines import (
    NotificationInline,
    PlacementInline,
    ProcessInline,
    ScheduleInline,
    TierInline,
)
from deploy_manager.admin.inventory.live_releases import describe_live_releases
from deploy_manager.admin.inventory.processes import (
    describe_each_process,
    describe_processes,
)
from deploy_manager.admin.permissions import (
    may_deploy_any,
    may_see,
    may_see_any,
    visible_environments,
)
from deploy_manager.models import (
    Deployment,
    Environment,
    Freeze,
    Placement,
    Problem,
    Schedule,
)
from deploy_manager.models.deployments import DEPLOY, ROLLBACK
from deploy_manager.models.environment_parts import (
    AllowedTimesPart,
    ApprovalPart,
    HealthPart,
    PackagesPart,
    RolloutPart,
    ServingPart,
    SitePart,
)
from deploy_manager.models.rights import CHANGE_SERVER, may_deploy
from deploy_manager.schedule.windows import zone_or_utc


def fields_of(part: type[models.Model]) -> tuple[str, ...]:
    """Return the fields of a part of the environment, in its order."""
    return tuple(field.name for field in part._meta.local_fields)


@admin.register(Environment)
class EnvironmentAdmin(ConfirmingAdmin[Environment]):
    list_display = ("site", "ref", "server_count", "live_now", "running_now", "last_deployment")
    list_filter = ("project",)
    search_fields = ("name", "project__name")
    readonly_fields = ("pins_now", "freezes", "processes_now")
    inlines = (
        PlacementInline,
        ProcessInline,
        TierInline,
        ScheduleInline,
        NotificationInline,
    )
    formfield_overrides = {
        JSONField: {"widget": Textarea(attrs={"rows": 3, "cols": 60, "class": "dm-mono"})}
    }
    fieldsets = (
        (
            None,
            {
                "description": _("The code, and where it is deployed on each server."),
                "fields": ("project", "name", "ref", "deploy_path"),
            },
        ),
        (
            _("Site"),
            {
                "description": _(
                    "Settings of every process of the site, and what outlives releases."
                ),
                "fields": fields_of(SitePart),
            },
        ),
        (
            _("Packages"),
            {
                "description": _("What is installed, from where, and by what."),
                "fields": ("pins_now", *fields_of(PackagesPart)),
            },
        ),
        (
            _("Serving"),
            {
                "description": _("What serves the site, and how it is brought to a new release."),
                "fields": (*fields_of(ServingPart), "processes_now"),
            },
        ),
        (
            _("Health check"),
            {
                "description": _(
                    "A request that each server must answer after a release was activated on it."
                ),
                "fields": fields_of(HealthPart),
            },
        ),
        (
            _("Rollout"),
            {
                "description": _(
                    "How a deployment spreads over the servers, and what happens if it fails."
                ),
                "fields": fields_of(RolloutPart),
            },
        ),
        (
            _("Approvals"),
            {
                "description": _(
                    "Other people who must agree. Only who may approve here may change this."
                ),
                "fields": fields_of(ApprovalPart),
            },
        ),
        (
            _("Allowed times"),
            {
                "description": _("When releases may change. A rollback may begin at any time."),
                "fields": (*fields_of(AllowedTimesPart), "freezes"),
            },
        ),
    )

    class Media:
        js = [
            Script("deploy_manager/run.js", defer=True),
            Script("deploy_manager/placements.js", defer=True),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        found = super().get_queryset(request).select_related("project")
        return visible_environments(request, found).prefetch_related(
            Prefetch("placements", _placements_as_seen()),
            Prefetch("deployments", _newest_deployments(), to_attr="newest_deployments"),
            Prefetch("freezes", Freeze.objects.open(), to_attr="open_freezes"),
        )

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        """Put the actions of recipes before the admin's own, for users who may deploy."""
        if "_popup" in request.GET or not may_deploy_any(request):
            return known
        from deploy_manager.admin.deployments.start import PROVISION_ACTION, run_actions

        actions = run_actions()
        if not request.user.has_perm(CHANGE_SERVER):
            actions.pop(PROVISION_ACTION, None)
        return {**actions, **known}

    def has_module_permission(self, request: HttpRequest) -> bool:
        return super().has_module_permission(request) or may_see_any(request)

    def has_view_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return may_see_any(request) if obj is None else may_see(request.user, obj)

    def has_change_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        right = "deploy_manager.change_environment"
        return super().has_change_permission(request, obj) or (
            obj is not None and request.user.has_perm(right, obj)
        )

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("run/<slug:recipe>/", wrap(self.run_view), name="deploy_manager_environment_run"),
            path(
                "<int:pk>/freeze/",
                wrap(self.freeze_view),
                name="deploy_manager_environment_freeze",
            ),
            path(
                "<int:pk>/schedule/<int:schedule_pk>/<slug:what>/",
                wrap(self.schedule_view),
                name="deploy_manager_environment_schedule",
            ),
            path(
                "<int:pk>/command/",
                wrap(self.site_command_view),
                name="deploy_manager_environment_command",
            ),
            path(
                "<int:pk>/requirements/",
                wrap(self.requirements_view),
                name="deploy_manager_environment_requirements",
            ),
            *super().get_urls(),
        ]

    def run_view(self, request: HttpRequest, recipe: str) -> HttpResponse:
        from deploy_manager.admin.deployments.start import run_view

        # *Run at* is typed in the time zone of the environments, if that is the same one for all.
        chosen = Environment.objects.filter(pk__in=ids_in(request))
        zones = {zone_or_utc(name) for name in chosen.values_list("time_zone", flat=True)}
        zone = zones.pop() if len(zones) == 1 else timezone.get_current_timezone()
        with timezone.override(zone):
            return run_view(self, request, recipe)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Environment | None = None
    ) -> tuple[str, ...]:
        """Keep the approvals from those who need them."""
        from deploy_manager.deployments.allowed import APPROVE, may_approve

        user = request.user
        is_allowed = may_approve(user, obj) if obj else user.has_perm(APPROVE)
        return (*self.readonly_fields, *(() if is_allowed else fields_of(ApprovalPart)))

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Make who saves a schedule its owner: it acts with that person's rights."""
        super().save_formset(request, form, formset, change)
        if formset.model is not Schedule:
            return
        saved = [*formset.new_objects, *(row for row, _fields in formset.changed_objects)]
        for schedule in saved:
            schedule.give_to(request.user)
            schedule.save(update_fields=["owner", "owner_name"])

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        from deploy_manager.deployments.owners import confirm_what_is_new

        super().save_related(request, form, formsets, change)
        # After all formsets: it confirms what stands in each of them.
        for schedule in form.instance.schedules.filter(owner=request.user, plan=None):
            confirm_what_is_new(schedule)

    @method_decorator(require_POST)
    def schedule_view(
        self, request: HttpRequest, pk: int, schedule_pk: int, what: str
    ) -> HttpResponse:
        """Take a schedule over, or confirm it as it was shown."""
        schedules = Schedule.objects.select_related("environment__project", "owner", "plan")
        schedule = get_object_or_404(schedules, pk=schedule_pk, environment=pk)
        if not self.has_view_permission(request, schedule.environment):
            raise PermissionDenied
        if act_on(request, schedule, what):
            text = gettext("Schedule %s: taken over, or confirmed.")
            self.log_change(request, schedule.environment, text % schedule)
        return back_to("environment", pk)

    def freeze_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return freeze_view(self, request, pk)

    def site_command_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.deployments.site_command import site_command_view

        return site_command_view(self, request, pk)

    def requirements_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.packages.import_page import import_view

        return import_view(self, request, pk)

    def page_context(self, request: HttpRequest, environment: Environment) -> dict[str, Any]:
        tools: dict[str, Any] = {
            "freeze": environment.active_freeze,
            "problems": shown_problems(Problem.objects.about(environment)),
            "paused": [shown_actor(request, each) for each in _enabled_schedules(environment)],
        }
        if may_deploy(request.user, environment):
            freeze_name = "admin:deploy_manager_environment_freeze"
            tools |= {
                "deploy_url": run_url(DEPLOY, [environment.pk]),
                "rollback_url": run_url(ROLLBACK, [environment.pk]),
                "freeze_url": reverse(freeze_name, args=[environment.pk]),
                "command_url": site_command_url(environment.pk),
            }
            if environment.tiers.exists():
                tools["tiers_url"] = run_url("preview_tiers", [environment.pk])
        return tools

    @admin.display(description=_("site"), ordering="project__name")
    def site(self, environment: Environment) -> SafeString:
        return format_html("{} {}", environment, frozen_mark(environment))

    @admin.display(description=_("pins now"))
    def pins_now(self, environment: Environment) -> SafeString | str:
        from deploy_manager.admin.inventory.pin_sources import describe_pin_sources

        return describe_pin_sources(environment) if environment.pk else ""

    @admin.display(description=_("freezes"))
    def freezes(self, environment: Environment) -> SafeString | str:
        return describe_freezes(environment) if environment.pk else ""

    @admin.display(description=_("servers"))
    def server_count(self, environment: Environment) -> int:
        return len(environment.placements.all())

    @admin.display(description=_("live now"))
    def live_now(self, environment: Environment) -> SafeString | str:
        return describe_live_releases(environment)

    @admin.display(description=_("processes"))
    def running_now(self, environment: Environment) -> SafeString | str:
        return describe_processes(environment.placements.all())

    @admin.display(description=_("processes now"))
    def processes_now(self, environment: Environment) -> SafeString | str:
        return describe_each_process(environment) if environment.pk else ""

    @admin.display(description=_("last deployment"))
    def last_deployment(self, environment: Environment) -> SafeString | str:
        newest: list[Deployment] = environment.newest_deployments  # type: ignore[attr-defined]
        if not newest:
            return ""
        return format_html("{} {}", state_badge(newest[0].state), deployment_link(newest[0]))


def _enabled_schedules(environment: Environment) -> QuerySet[Schedule]:
    found = environment.schedules.filter(is_enabled=True)
    return found.select_related("environment__project", "owner", "plan")


def _placements_as_seen() -> QuerySet[Placement]:
    found = Placement.objects.select_related("active_release", "server", "watch")
    return found.prefetch_related("watch__processes")


def _newest_deployments() -> QuerySet[Deployment]:
    """Return the last deployment of each environment, in one query for all of them."""
    # A prefetch can't be sliced per object: the subquery chooses the ids.
    last = Deployment.objects.filter(environment=OuterRef("pk")).order_by("-created_at", "-pk")
    return Deployment.objects.filter(
        pk__in=Environment.objects.values_list(Subquery(last.values("pk")[:1]), flat=True)
    )
