"""Policies, which request upgrades automatically, and their runs."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import JSONField, OuterRef, Prefetch, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from deploy_manager.admin.addresses import patch_url, upgrade_url
from deploy_manager.admin.automatic import act_on, back_to, describe_owner, shown_actor
from deploy_manager.admin.badges import short_time
from deploy_manager.admin.base import (
    HistoryAdmin,
    ModelForm,
    TabularInline,
    VisibleChoices,
    shown_problems,
)
from deploy_manager.admin.confirming import ConfirmingAdmin
from deploy_manager.models import (
    Environment,
    IgnoredPackage,
    PolicyEnvironment,
    PolicyRun,
    Problem,
    UpgradePolicy,
    UpgradeStage,
)
from deploy_manager.models.rights import Right
from deploy_manager.schedule.windows import check_zone

RUN_PAGE = "admin/deploy_manager/upgradepolicy/run.html"
TIMES_SHOWN = 3
LINE_END = SafeString("<br>")


class PolicyForm(ModelForm[UpgradePolicy]):
    """The form of a policy, where a blank JSON field means an empty list."""

    def clean_packages(self) -> list[str]:
        return self.cleaned_data["packages"] or []

    def clean_groups(self) -> list[list[str]]:
        return self.cleaned_data["groups"] or []


class OfPolicyInline(VisibleChoices):
    """Rows on a policy's page: seen and changed with it."""

    admin_site: AdminSite

    def has_view_permission(self, request: HttpRequest, obj: UpgradePolicy | None = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: UpgradePolicy | None = None) -> bool:
        return self._may_change(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: UpgradePolicy | None = None) -> bool:
        return self._may_change(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: UpgradePolicy | None = None) -> bool:
        return self._may_change(request, obj)

    def _may_change(self, request: HttpRequest, policy: UpgradePolicy | None) -> bool:
        of_policies = self.admin_site.get_model_admin(UpgradePolicy)
        return policy is None or of_policies.has_change_permission(request, policy)


class PolicyEnvironmentInline(OfPolicyInline, TabularInline[PolicyEnvironment, UpgradePolicy]):
    model = PolicyEnvironment
    extra = 0
    fields = ("order", "environment")
    # A policy upgrades it without asking.
    choices_need = {"environment": Right.UPGRADE}


class IgnoredPackageInline(OfPolicyInline, TabularInline[IgnoredPackage, UpgradePolicy]):
    model = IgnoredPackage
    extra = 0
    fields = ("package", "advisory", "reason", "until")


@admin.register(UpgradePolicy)
class UpgradePolicyAdmin(ConfirmingAdmin[UpgradePolicy]):
    list_display = (
        *("name", "is_enabled", "owned_by", "how_far"),
        *("environment_list", "next_time", "last_run"),
    )
    list_filter = ("is_enabled", "how_far")
    search_fields = ("name",)
    form = PolicyForm
    inlines = (PolicyEnvironmentInline, IgnoredPackageInline)
    readonly_fields = ("next_three_times", "last_run", "owned_by")
    formfield_overrides = {
        JSONField: {"widget": forms.Textarea(attrs={"rows": 2, "cols": 60, "class": "dm-mono"})}
    }
    fieldsets = (
        (None, {"fields": ("name", "is_enabled", "owned_by", "last_run")}),
        (_("What"), {"fields": ("how_far", "packages", "groups")}),
        (_("When"), {"fields": ("cron", "time_zone", "next_three_times", "deadline")}),
        (_("Safety"), {"fields": ("cooldown", "security_skips_cooldown", "soak", "most_at_once")}),
        (_("Afterwards"), {"fields": ("on_failure", "hand_back")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[UpgradePolicy]:
        turns = PolicyEnvironment.objects.select_related("environment__project")
        return (
            super()
            .get_queryset(request)
            .prefetch_related(
                Prefetch("turns", turns),
                Prefetch("runs", _newest_runs(), to_attr="newest_runs"),
            )
        )

    def has_change_permission(self, request: HttpRequest, obj: UpgradePolicy | None = None) -> bool:
        """Require the right to upgrade all of its environments: a policy upgrades them."""
        return super().has_change_permission(request, obj) and _may_upgrade_all(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: UpgradePolicy | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_upgrade_all(request, obj)

    def save_model(self, request: HttpRequest, obj: UpgradePolicy, form: Any, change: bool) -> None:
        """Make who saves it its owner: it acts with that person's rights."""
        obj.give_to(request.user)  # type: ignore[arg-type]
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        self._confirm_new(form.instance)
        # Not `form.instance.turns`, which may have been read before its rows were saved.
        if not PolicyEnvironment.objects.filter(policy=form.instance).exists():
            text = gettext("This policy has no environments and upgrades nothing: add one below.")
            messages.warning(request, text)

    def _confirm_new(self, policy: UpgradePolicy) -> None:
        from deploy_manager.deployments.owners import confirm_what_is_new

        confirm_what_is_new(policy)

    def get_urls(self) -> list[URLPattern]:
        wrap, name = self.admin_site.admin_view, "deploy_manager_upgradepolicy"
        return [
            path("<int:pk>/run/", wrap(self.run_view), name=f"{name}_run"),
            path("<int:pk>/own/<slug:what>/", wrap(self.own_view), name=f"{name}_own"),
            *super().get_urls(),
        ]

    @method_decorator(require_POST)
    def own_view(self, request: HttpRequest, pk: int, what: str) -> HttpResponse:
        """Take a policy over, or confirm it as it was shown."""
        policy = self.get_queryset(request).filter(pk=pk).first()
        if policy is None or not self.has_view_permission(request, policy):
            raise Http404(gettext("There is no such policy."))
        if act_on(request, policy, what):
            self.log_change(request, policy, gettext("Taken over, or confirmed."))
        return back_to("upgradepolicy", pk)

    def page_context(self, request: HttpRequest, policy: UpgradePolicy) -> dict[str, Any]:
        tools: dict[str, Any] = {
            "problems": shown_problems(Problem.objects.about(policy)),
            "paused": [shown_actor(request, policy)],
        }
        if self.has_change_permission(request, policy):
            tools["run_url"] = reverse("admin:deploy_manager_upgradepolicy_run", args=[policy.pk])
        return tools

    def run_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for confirmation that a policy runs now; run it on a POST."""
        from deploy_manager.upgrades.policies import ask_for_run

        policy = self.get_queryset(request).filter(pk=pk).first()
        if policy is None:
            raise Http404(gettext("There is no such policy."))
        if not self.has_change_permission(request, policy):
            raise PermissionDenied
        if request.method != "POST":
            return self.render_page(
                request,
                RUN_PAGE,
                gettext("Run now"),
                subtitle=str(policy),
                original=policy,
                environments=[turn.environment for turn in policy.turns.all()],
            )
        run = ask_for_run(policy)
        self.log_change(request, policy, gettext("Requested a run."))
        text = gettext(
            "A worker looks for what %(policy)s may upgrade: see %(run)s for the result."
        )
        self.message_user(request, format_html(text, policy=policy, run=_run_link(run)))
        return HttpResponseRedirect(
            reverse("admin:deploy_manager_upgradepolicy_change", args=[policy.pk])
        )

    @admin.display(description=_("owner"), ordering="owner_name")
    def owned_by(self, policy: UpgradePolicy) -> SafeString | str:
        if not policy.paused:
            return describe_owner(policy)
        return format_html(
            '{} <strong class="dm-bad" title="{}">{}</strong>',
            describe_owner(policy),
            policy.paused,
            gettext("paused"),
        )

    @admin.display(description=_("environments"))
    def environment_list(self, policy: UpgradePolicy) -> str:
        return ", ".join(str(turn.environment) for turn in policy.turns.all())

    @admin.display(description=_("next time"))
    def next_time(self, policy: UpgradePolicy) -> str:
        return ", ".join(_times(policy, 1)) if policy.is_enabled else ""

    @admin.display(description=_("next times"))
    def next_three_times(self, policy: UpgradePolicy) -> str:
        return ", ".join(_times(policy, TIMES_SHOWN)) if policy.pk else ""

    @admin.display(description=_("last run"))
    def last_run(self, policy: UpgradePolicy) -> SafeString | str:
        newest: list[PolicyRun] = getattr(policy, "newest_runs", [])
        if not newest:
            return ""
        return format_html(
            '{}<br><span class="dm-quiet dm-lines">{}</span>',
            _run_link(newest[0]),
            describe_outcome(newest[0]),
        )


@admin.register(PolicyRun)
class PolicyRunAdmin(HistoryAdmin[PolicyRun]):
    list_display = ("slot_time", "policy", "outcome_shown", "upgrade_list")
    list_filter = ("policy",)
    list_select_related = ("policy",)
    search_fields = ("outcome",)
    date_hierarchy = "slot"
    fields = ("policy", "slot", "created_at", "outcome_shown", "upgrade_list", "patch_list")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[PolicyRun]:
        return super().get_queryset(request).prefetch_related("upgrades")

    @admin.display(description=_("time"), ordering="slot")
    def slot_time(self, run: PolicyRun) -> str:
        return short_time(run.slot)

    @admin.display(description=_("outcome"))
    def outcome_shown(self, run: PolicyRun) -> SafeString:
        return format_html('<span class="dm-lines">{}</span>', describe_outcome(run))

    @admin.display(description=_("upgrades"))
    def upgrade_list(self, run: PolicyRun) -> SafeString:
        links = (
            (upgrade_url(each.pk), each, each.get_state_display()) for each in run.upgrades.all()
        )
        return format_html_join(LINE_END, '<a href="{}">{}</a> {}', links)

    @admin.display(description=_("patches"))
    def patch_list(self, run: PolicyRun) -> SafeString:
        """Return the patches for repositories that list the pins, handed back or not."""
        stages = UpgradeStage.objects.filter(
            upgrade__policy_run=run, environment__pins_from=Environment.PinsFrom.COMMIT
        )
        found = stages.select_related("environment__project").order_by("upgrade", "number")
        links = ((patch_url(each), each.upgrade_id, each.environment) for each in found)
        return format_html_join(LINE_END, '<a href="{}">#{} {}</a>', links)


def describe_outcome(run: PolicyRun) -> str:
    """Return what a run did, or what it is waiting for."""
    return str(run.outcome) or gettext("Waiting for a worker.")


def _may_upgrade_all(request: HttpRequest, policy: UpgradePolicy | None) -> bool:
    from deploy_manager.deployments.owners import sites_it_may_not

    return policy is None or not sites_it_may_not(request.user, policy)


def _times(policy: UpgradePolicy, count: int) -> list[str]:
    """Return the next times in the policy's own time zone, as in its cron expression."""
    from deploy_manager.upgrades.policies import next_times

    try:
        zone = check_zone(policy.time_zone)
        times = next_times(policy, count, timezone.now())
        return [f"{time.astimezone(zone):%Y-%m-%d %H:%M %Z}" for time in times]
    except ValueError as error:
        return [str(error)]


def _run_link(run: PolicyRun) -> SafeString:
    url = reverse("admin:deploy_manager_policyrun_change", args=[run.pk])
    return format_html('<a href="{}">{}</a>', url, short_time(run.slot))


def _newest_runs() -> QuerySet[PolicyRun]:
    """Return the last run of each policy, in one query for all of them."""
    # A prefetch can't be sliced per object: the subquery chooses the ids.
    last = PolicyRun.objects.filter(policy=OuterRef("pk")).order_by("-slot", "-pk")
    return PolicyRun.objects.filter(
        pk__in=UpgradePolicy.objects.values_list(Subquery(last.values("pk")[:1]), flat=True)
    )
