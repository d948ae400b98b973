"""Environments: their settings, what they serve, and the actions that deploy them."""

from typing import Any

from django.contrib import admin
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
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from deploy_manager.admin.addresses import ids_in, run_url, site_command_url
from deploy_manager.admin.automatic import act_on, back_to, shown_actor
from deploy_manager.admin.badges import deployment_link, state_badge
from deploy_manager.admin.base import KeepingForm, shown_problems
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
from deploy_manager.admin.inventory.secret_variables import SecretVariableInline
from deploy_manager.admin.webhooks.outgoing import OutgoingWebhookInline
from deploy_manager.masking import looks_secret
from deploy_manager.models import (
    Deployment,
    Environment,
    Freeze,
    Placement,
    Problem,
    Schedule,
    Server,
)
from deploy_manager.models.deployments import DEPLOY, ROLLBACK
from deploy_manager.models.environment_parts import (
    AllowedTimesPart,
    ApprovalPart,
    GatePart,
    HealthPart,
    PackagesPart,
    RolloutPart,
    ServingPart,
    SitePart,
)
from deploy_manager.models.rights import Right, may
from deploy_manager.models.shapes import texts_by_name
from deploy_manager.schedule.windows import zone_or_utc
from deploy_manager.visibility import may_any, may_on, may_on_any, visible

TO_RUN = (Right.DEPLOY, Right.ROLL_BACK, Right.RUN_RECIPE, Right.UPGRADE)


def fields_of(part: type[models.Model]) -> tuple[str, ...]:
    """Return the fields of a part of the environment, in its order."""
    return tuple(field.name for field in part._meta.local_fields)


@admin.register(Environment)
class EnvironmentAdmin(ConfirmingAdmin[Environment]):
    list_display = ("site", "ref", "server_count", "live_now", "running_now", "last_deployment")
    list_filter = ("project",)
    search_fields = ("name", "project__name")
    form = KeepingForm
    choices_need = {"builder": Right.USE_SERVER}
    readonly_fields = ("pins_now", "freezes", "processes_now")
    inlines = (
        PlacementInline,
        SecretVariableInline,
        ProcessInline,
        TierInline,
        ScheduleInline,
        NotificationInline,
        OutgoingWebhookInline,
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
            _("Order and checks"),
            {
                "description": _(
                    "What new code has to have passed before it may come here. Only who may approve"
                    " here may change this."
                ),
                "fields": ("promotes_from", *fields_of(GatePart)),
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
        return found.prefetch_related(
            Prefetch("placements", _placements_as_seen()),
            Prefetch("deployments", _newest_deployments(), to_attr="newest_deployments"),
            Prefetch("freezes", Freeze.objects.open(), to_attr="open_freezes"),
        )

    def choose_actions(self, request: HttpRequest, known: dict[str, Any]) -> dict[str, Any]:
        """Put the actions of recipes before the admin's own, for users who may deploy."""
        rights = frozenset(right for right in TO_RUN if may_on_any(request, right))
        if "_popup" in request.GET or not rights:
            return known
        from deploy_manager.admin.deployments.start import PROVISION_ACTION, run_actions

        actions = run_actions(rights)
        if not may_any(request, Right.CHANGE_SERVER, Server):
            actions.pop(PROVISION_ACTION, None)
        return {**actions, **known}

    def has_change_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return may_on(request, Right.CHANGE, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Environment | None = None) -> bool:
        return may_on(request, Right.DELETE, obj)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Environment | None = None
    ) -> tuple[str, ...]:
        """Keep approvals, order and checks from who needs them, its project from who adds none.

        Another project is another code with its deploy key and credentials, as on a new one.
        """
        may_approve = may(request.user, Right.APPROVE, obj)
        guarding = (*fields_of(ApprovalPart), "promotes_from", *fields_of(GatePart))
        kept = () if may_approve else guarding
        stays = ("project",) if obj is not None and not self.has_add_permission(request) else ()
        return (*self.readonly_fields, "variable_names", *kept, *stays)

    def get_fieldsets(self, request: HttpRequest, obj: Environment | None = None) -> Any:
        """Show the names of the variables instead of their values to those who may not have them.

        What is not in the form can't be sent, either.
        """
        if may(request.user, Right.CHANGE_SECRETS, obj):
            return self.fieldsets
        return [
            (title, {**options, "fields": tuple(map(_without_values, options["fields"]))})
            for title, options in self.fieldsets
        ]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("run/<slug:recipe>/", wrap(self.run_view), name="deploy_manager_environment_run"),
            path(
                "<int:pk>/access/",
                wrap(self.access_view),
                name="deploy_manager_environment_access",
            ),
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

    # What is entered as a secret must not stand in the report of an error.
    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        return super().changeform_view(request, *args, **options)

    def run_view(self, request: HttpRequest, recipe: str) -> HttpResponse:
        from deploy_manager.admin.deployments.start import run_view

        # *Run at* is typed in the time zone of the environments, if that is the same one for all.
        chosen = visible(request, Environment.objects.filter(pk__in=ids_in(request)))
        zones = {zone_or_utc(name) for name in chosen.values_list("time_zone", flat=True)}
        zone = zones.pop() if len(zones) == 1 else timezone.get_current_timezone()
        with timezone.override(zone):
            return run_view(self, request, recipe)

    def access_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.inventory.access import access_view

        return access_view(self, request, pk, Right.CHANGE)

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
        seen = visible(request, schedules)
        schedule = get_object_or_404(seen, pk=schedule_pk, environment=pk)
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
            "look_secret": looks_secret(texts_by_name(environment.variables)),
        }
        name = "admin:deploy_manager_environment_"
        buttons = [
            (Right.DEPLOY, "deploy_url", run_url(DEPLOY, [environment.pk])),
            (Right.ROLL_BACK, "rollback_url", run_url(ROLLBACK, [environment.pk])),
            (Right.FREEZE, "freeze_url", reverse(f"{name}freeze", args=[environment.pk])),
            (Right.RUN_RECIPE, "command_url", site_command_url(environment.pk)),
            (Right.CHANGE, "access_url", reverse(f"{name}access", args=[environment.pk])),
        ]
        if environment.tiers.exists():
            tiers = run_url("preview_tiers", [environment.pk])
            buttons.append((Right.RUN_RECIPE, "tiers_url", tiers))
        tools |= {key: url for right, key, url in buttons if may(request.user, right, environment)}
        return tools

    @admin.display(description=_("environment variables"))
    def variable_names(self, environment: Environment) -> str:
        """Return their names; the values are for those who may change the secrets."""
        names = environment.variables if isinstance(environment.variables, dict) else ()
        return ", ".join(sorted(map(str, names)))

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


def _without_values(field: Any) -> Any:
    return "variable_names" if field == "variables" else field


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
