"""Inlines of an environment: placements, schedules and notifications."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Field, JSONField, Max, OuterRef, QuerySet, Subquery
from django.forms import Textarea
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.admin.addresses import deployment_url
from deploy_manager.admin.automatic import describe_owner
from deploy_manager.admin.badges import short_commit, short_time
from deploy_manager.admin.base import (
    InlineFormSet,
    KeepingForm,
    ModelForm,
    OfEnvironmentInline,
    StackedInline,
    TabularInline,
)
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import (
    Deployment,
    Environment,
    Notification,
    Placement,
    Process,
    Schedule,
    Tier,
)
from deploy_manager.models.deployments import MANAGE_SITE, right_to
from deploy_manager.models.rights import Right, may
from deploy_manager.models.states import notified_of
from deploy_manager.schedule.slots import next_slot
from deploy_manager.schedule.windows import check_zone
from deploy_manager.visibility import is_visible

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST = 32767
"""The highest order that every database stores."""


class PlacementForm(KeepingForm):
    """Leaves out a new row in which only the proposed order was filled in.

    It names no environment that the user may not see.
    """

    request: HttpRequest

    def add_error(self, field: str | None, error: Any) -> None:
        of_fields = getattr(error, "error_dict", {None: getattr(error, "error_list", ())})
        for each in (each for errors in of_fields.values() for each in errors):
            site = (each.params or {}).get("site")
            if isinstance(site, Environment) and not is_visible(self.request, site):
                each.params["site"] = gettext("Another environment")
        super().add_error(field, error)

    def has_changed(self) -> bool:
        if self.instance.pk:
            return super().has_changed()
        return bool(set(self.changed_data) - {"order"})


class PlacementInline(OfEnvironmentInline, TabularInline[Placement, Environment]):
    model = Placement
    form = PlacementForm
    choices_need = {"server": Right.USE_SERVER}
    extra = 0
    autocomplete_fields = ("server",)
    fields = (
        *("server", "roles", "order", "own_deploy_path", "own_bind"),
        *("own_reload_method", "own_reload_target", "live_now"),
    )
    readonly_fields = ("live_now",)
    formfield_overrides = {
        JSONField: {"widget": Textarea(attrs={"rows": 1, "cols": 12, "class": "dm-mono"})}
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Placement]:
        found = super().get_queryset(request)
        return found.select_related("server", "active_release", "environment__project")

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        """Propose the next free order for a new row: placements.js counts on from there.

        With the order of another one, a new server might become the canary unnoticed.
        """
        formset: Any = super().get_formset(request, obj, **options)
        formset.form.request = request
        if order := formset.form.base_fields.get("order"):
            last = obj.placements.aggregate(last=Max("order"))["last"] if obj else 0
            order.initial = min((last or 0) + 1, MOST)
            order.widget.attrs["max"] = MOST
        return formset

    @admin.display(description=_("live now"))
    def live_now(self, placement: Placement) -> SafeString | str:
        release = placement.active_release
        if release is None:
            return gettext("unknown until it is seen") if placement.is_unknown else ""
        return format_html(
            '{} <span class="dm-quiet" title="{}">{}</span>',
            short_commit(release.commit),
            release.name,
            short_time(placement.activated_at),
        )


class ProcessInline(OfEnvironmentInline, StackedInline[Process, Environment]):
    model = Process
    extra = 0
    fieldsets = (
        (None, {"fields": (("name", "kind", "number"), "command", ("roles", "application"))}),
        (
            _("Address, stopping, limits, check"),
            {
                "classes": ["collapse"],
                "fields": (
                    ("bind", "memory"),
                    ("stop_signal", "stop_seconds"),
                    ("health", "health_target"),
                ),
            },
        ),
    )
    formfield_overrides = {
        JSONField: {"widget": Textarea(attrs={"rows": 1, "cols": 18, "class": "dm-mono"})}
    }


class TierInline(OfEnvironmentInline, StackedInline[Tier, Environment]):
    model = Tier
    extra = 0
    fieldsets = (
        (None, {"fields": (("kind", "name", "roles"), ("listen", "names"))}),
        (
            _("Certificate, options, lines of its own"),
            {
                "classes": ["collapse"],
                "fields": (("certificate", "certificate_key"), ("options", "variable"), "lines"),
            },
        ),
    )
    formfield_overrides = {
        JSONField: {"widget": Textarea(attrs={"rows": 1, "cols": 30, "class": "dm-mono"})}
    }

    def formfield_for_dbfield(
        self, db_field: "Field[Any, Any]", request: HttpRequest, **options: Any
    ) -> Any:
        """Offer the kinds that there are, with what each of them is for."""
        if db_field.name == "kind":
            from deploy_manager.tiers.kinds import kinds

            choices = [(name, gettext(kind.title)) for name, kind in kinds().items()]
            return forms.ChoiceField(
                label=capfirst(db_field.verbose_name), choices=[("", "---------"), *choices]
            )
        if db_field.name == "lines":
            options["widget"] = Textarea(attrs={"rows": 4, "cols": 80, "class": "dm-mono"})
        return super().formfield_for_dbfield(db_field, request, **options)


class ScheduleFormSet(InlineFormSet[Any, Any, Any]):
    """Refuses schedules that their author could not carry out: they act in that person's name."""

    user: "User"

    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            if not hasattr(form, "cleaned_data"):
                continue  # invalid for another reason
            if not (form.has_changed() or form in self.deleted_forms):
                continue
            recipes = {form.initial.get("recipe"), form.cleaned_data.get("recipe")} - {None}
            if not all(may(self.user, right_to(str(each)), self.instance) for each in recipes):
                raise ValidationError(
                    gettext("A schedule acts in your name, and you may not run %(recipe)s here.")
                    % {"recipe": ", ".join(sorted(map(str, recipes)))}
                )


class ScheduleInline(OfEnvironmentInline, TabularInline[Schedule, Environment]):
    model = Schedule
    formset = ScheduleFormSet
    extra = 0
    fields = ("recipe", "cron", "time_zone", "deadline", "is_enabled", "next_time", "last_run")
    readonly_fields = ("next_time", "last_run")

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        formset = super().get_formset(request, obj, **options)
        return type("ScheduleFormSet", (formset,), {"user": request.user})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        # Annotated: asking each schedule for its deployments would be a query for each.
        of_it = Deployment.objects.filter(schedule=OuterRef("pk")).order_by("-slot", "-pk")
        return super().get_queryset(request).annotate(last=Subquery(of_it.values("pk")[:1]))

    def formfield_for_dbfield(
        self, db_field: "Field[Any, Any]", request: HttpRequest, **options: Any
    ) -> forms.Field | None:
        """Offer the recipes that run without a choice by the user."""
        from deploy_manager.recipes import Uses, all_pipelines

        if db_field.name == "recipe":
            # A schedule has no user to choose an earlier release, or the words of a command.
            schedulable = [
                each
                for each in all_pipelines()
                if each.uses is not Uses.GIVEN and each.name != MANAGE_SITE
            ]
            choices = [(each.name, gettext(each.title)) for each in schedulable]
            options["widget"] = forms.Select(choices=choices)
        return super().formfield_for_dbfield(db_field, request, **options)

    @admin.display(description=_("next time"))
    def next_time(self, schedule: Schedule) -> str:
        """Return its next time in its own time zone, as in its cron expression."""
        if not schedule.is_enabled or not schedule.pk:
            return ""
        try:
            zone = check_zone(schedule.time_zone)
            following = next_slot(schedule.cron, schedule.time_zone, timezone.now())
            return f"{following.astimezone(zone):%Y-%m-%d %H:%M %Z}"
        except ValueError as error:
            return str(error)

    @admin.display(description=_("last run, owner"))
    def last_run(self, schedule: Schedule) -> SafeString | str:
        """Return the last deployment, or why there was none; and in whose name it is requested."""
        if not schedule.pk:
            return ""
        last = getattr(schedule, "last", None)
        shown = format_html('<span class="dm-lines">{}</span>', schedule.outcome)
        if not schedule.outcome and last is not None:
            shown = format_html('<a href="{}">#{}</a>', deployment_url(last), last)
        by = gettext("in the name of %(who)s") % {"who": describe_owner(schedule)}
        return format_html('{} <span class="dm-quiet">{}</span>', shown, by)


class NotificationForm(ModelForm[Notification]):
    """Checkboxes for states, and a choice of the targets in the settings."""

    states = forms.MultipleChoiceField(
        label=_("on these outcomes"),
        choices=notified_of,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "dm-ticks"}),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        try:
            targets = sorted(get_settings().NOTIFY)
        except ConfigurationError:
            # A system check reports it: the page must open nevertheless.
            targets = []
        # The saved target stays a choice even if the settings no longer have it.
        known = dict.fromkeys([*targets, self.instance.target])
        choices = [("", "---------"), *((name, name) for name in known if name)]
        if "target" in self.fields:
            self.fields["target"].widget = forms.Select(choices=choices)


class NotificationInline(OfEnvironmentInline, TabularInline[Notification, Environment]):
    model = Notification
    form = NotificationForm
    extra = 0
    fields = ("target", "states")
