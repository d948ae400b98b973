"""Incoming webhooks: their address and secret for who may change them, and what has come."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import CheckboxSelectMultiple
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from deploy_manager.admin.automatic import act_on, back_to, describe_owner, shown_actor
from deploy_manager.admin.badges import short_time
from deploy_manager.admin.base import ModelForm, StyledAdmin
from deploy_manager.auditing import record_change
from deploy_manager.forges.gitlab import signing_token_of
from deploy_manager.models import Environment, IncomingWebhook
from deploy_manager.models.rights import Right, may

NAME = "deploy_manager_incomingwebhook"
DELIVERIES_SHOWN = 30


class IncomingWebhookForm(ModelForm[IncomingWebhook]):
    class Meta:
        model = IncomingWebhook
        fields = ("project", "name", "kind", "environments", "is_enabled")
        widgets = {"environments": CheckboxSelectMultiple}

    def clean(self) -> dict[str, Any]:
        """Refuse environments of another project: a push brings the code of one."""
        sent: dict[str, Any] = super().clean() or {}
        project = sent.get("project") or self.instance.__dict__.get("project")
        sites: list[Environment] = list(sent.get("environments") or [])
        others = [str(each) for each in sites if project and each.project_id != project.pk]
        if others:
            text = _("These belong to another project: %(names)s.")
            error = ValidationError(text, params={"names": ", ".join(others)})
            self.add_error("environments", error)
        return sent


@admin.register(IncomingWebhook)
class IncomingWebhookAdmin(StyledAdmin[IncomingWebhook]):
    """Whoever saves one becomes its owner: it deploys with that person's rights."""

    form = IncomingWebhookForm
    list_display = (
        *("name", "project", "kind", "is_enabled", "owned_by"),
        *("environment_list", "received", "last_outcome"),
    )
    list_filter = ("is_enabled", "kind", "project")
    list_select_related = ("project",)
    search_fields = ("name", "project__name")
    fields = ("project", "name", "kind", "environments", "is_enabled", "owned_by")
    readonly_fields = ("owned_by",)
    # It deploys them without asking.
    choices_need = {"environments": Right.DEPLOY}

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("environments__project")

    def has_change_permission(
        self, request: HttpRequest, obj: IncomingWebhook | None = None
    ) -> bool:
        """Require the rights to do all that it does, as its secret lets anybody."""
        return super().has_change_permission(request, obj) and _may_all_it_does(request, obj)

    def has_delete_permission(
        self, request: HttpRequest, obj: IncomingWebhook | None = None
    ) -> bool:
        return super().has_delete_permission(request, obj) and _may_all_it_does(request, obj)

    def save_model(
        self, request: HttpRequest, obj: IncomingWebhook, form: Any, change: bool
    ) -> None:
        obj.give_to(request.user)  # type: ignore[arg-type]
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Note the environments in the audit, as no signal does, and that it may act again."""
        from deploy_manager.deployments.owners import confirm_what_is_new

        before = _names_of(form.instance)
        super().save_related(request, form, formsets, change)
        fresh = IncomingWebhook.objects.get(pk=form.instance.pk)
        if (after := _names_of(fresh)) != before:
            record_change(fresh, {"environments": before}, {"environments": after})
        confirm_what_is_new(form.instance)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/own/<slug:what>/", wrap(self.own_view), name=f"{NAME}_own"),
            path("<int:pk>/renew/", wrap(self.renew_view), name=f"{NAME}_renew"),
            *super().get_urls(),
        ]

    # The secret must not stay in a cache, nor in the history of a browser that others use.
    @method_decorator(never_cache)
    def changeform_view(self, *args: Any, **options: Any) -> Any:
        return super().changeform_view(*args, **options)

    def page_context(self, request: HttpRequest, row: IncomingWebhook) -> dict[str, Any]:
        deliveries = row.deliveries.all()[:DELIVERIES_SHOWN]
        context: dict[str, Any] = {
            "paused": [shown_actor(request, row)],
            "deliveries": deliveries,
        }
        if self.has_change_permission(request, row):
            secret = row.secrets()[0]
            is_gitlab = row.kind == IncomingWebhook.Kind.GITLAB
            context |= {
                "webhook_address": _address(request, row),
                "webhook_secret": secret,
                "signing_token": signing_token_of(secret) if is_gitlab else "",
                "renew_url": reverse(f"admin:{NAME}_renew", args=[row.pk]),
            }
        return context

    @method_decorator(require_POST)
    def own_view(self, request: HttpRequest, pk: int, what: str) -> HttpResponse:
        """Take a webhook over: it acts in the name of who does so."""
        webhook = self._find_to_change(request, pk)
        if act_on(request, webhook, what):
            self.log_change(request, webhook, gettext("Taken over."))
        return back_to("incomingwebhook", pk)

    @method_decorator(require_POST)
    def renew_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Let its secret be another one: nothing that is signed with the old one comes in."""
        webhook = self._find_to_change(request, pk)
        before = webhook.secret_version
        webhook.renew_secret()
        record_change(webhook, {"secret": f"no. {before}"}, {"secret": f"no. {before + 1}"})
        self.log_change(request, webhook, gettext("Secret renewed."))
        text = gettext("The secret is another one now: enter it at the forge.")
        messages.warning(request, text)
        return back_to("incomingwebhook", pk)

    def _find_to_change(self, request: HttpRequest, pk: int) -> IncomingWebhook:
        """Return a webhook that the user may change. Raises Http404, PermissionDenied."""
        webhook: IncomingWebhook | None = self.get_queryset(request).filter(pk=pk).first()
        if webhook is None or not self.has_view_permission(request, webhook):
            raise Http404(gettext("There is no such webhook."))
        if not self.has_change_permission(request, webhook):
            raise PermissionDenied
        return webhook

    @admin.display(description=_("owner"), ordering="owner_name")
    def owned_by(self, webhook: IncomingWebhook) -> SafeString | str:
        if not webhook.paused:
            return describe_owner(webhook)
        return format_html(
            '{} <strong class="dm-bad" title="{}">{}</strong>',
            describe_owner(webhook),
            webhook.paused,
            gettext("paused"),
        )

    @admin.display(description=_("deploys"))
    def environment_list(self, webhook: IncomingWebhook) -> str:
        return ", ".join(str(each) for each in webhook.environments.all())

    @admin.display(description=_("last received"), ordering="received_at")
    def received(self, webhook: IncomingWebhook) -> str:
        return short_time(webhook.received_at) if webhook.received_at else gettext("never")

    @admin.display(description=_("last outcome"))
    def last_outcome(self, webhook: IncomingWebhook) -> SafeString:
        return format_html('<span class="dm-lines">{}</span>', webhook.outcome)


def _may_all_it_does(request: HttpRequest, webhook: IncomingWebhook | None) -> bool:
    from deploy_manager.deployments.owners import sites_it_may_not

    if webhook is None:
        return True
    # By its secret anybody says what they like of a commit, in its owner's name.
    owner = webhook.owner
    reports = owner is not None and may(owner, Right.REPORT, webhook.project)
    if reports and not may(request.user, Right.REPORT, webhook.project):
        return False
    return not sites_it_may_not(request.user, webhook)


def _names_of(webhook: IncomingWebhook) -> list[str]:
    return sorted(map(str, webhook.environments.select_related("project")))


def _address(request: HttpRequest, webhook: IncomingWebhook) -> str:
    """Return what a forge calls; blank: the project has not included the app's addresses."""
    try:
        where = reverse("deploy_manager:webhook", args=[webhook.key])
    except NoReverseMatch:
        return ""
    return request.build_absolute_uri(where)
