"""Outgoing webhooks on the page of an environment: their secrets are written there, never shown."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from deploy_manager.admin.badges import short_time
from deploy_manager.admin.base import ModelForm, OfEnvironmentInline, StackedInline
from deploy_manager.admin.inventory.secret_variables import SecretInput
from deploy_manager.exceptions import ConfigurationError, WebhookFailed
from deploy_manager.models import Environment, OutgoingDelivery, OutgoingWebhook
from deploy_manager.models.secret_variables import secret_of
from deploy_manager.models.states import ends
from deploy_manager.models.webhooks import default_ends
from deploy_manager.sealing import Sealed, current_public_key

DELIVERIES_SHOWN = 3


class OutgoingWebhookForm(ModelForm[OutgoingWebhook]):
    new_secret = forms.CharField(
        label=_("Secret"),
        widget=SecretInput,
        required=False,
        help_text=_(
            "Signed JSON: whsec_ and the Base64 of 24 to 64 random bytes, which the receiver has,"
            " too. Sentry, Grafana: a token."
        ),
    )
    states = forms.MultipleChoiceField(
        label=_("When"),
        choices=ends,
        initial=default_ends,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "dm-ticks"}),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "new_secret" in self.fields and self.instance.pk:
            self.fields["new_secret"].widget.attrs["placeholder"] = gettext("unchanged")

    class Meta:
        model = OutgoingWebhook
        fields = ("name", "form", "url", "states", "is_enabled")
        widgets = {"url": forms.TextInput(attrs={"class": "vURLField"})}

    @sensitive_variables()
    def clean_new_secret(self) -> Any:
        """Return the secret, as a Secret; None: it stays as it is. Raises ValidationError."""
        text = (self.cleaned_data.get("new_secret") or "").strip()
        if not text:
            if not self.instance.pk:
                raise ValidationError(_("Enter its secret."))
            return None
        try:
            current_public_key()
        except ConfigurationError as error:
            raise ValidationError(str(error)) from None
        return secret_of(text)

    def clean(self) -> dict[str, Any]:
        sent: dict[str, Any] = super().clean() or {}
        if "new_secret" in self.fields and "new_secret" not in self.errors:
            try:
                self._check_secret(sent)
            except ValidationError as error:
                self.add_error("new_secret", error)
        return sent

    @sensitive_variables()
    def _check_secret(self, sent: dict[str, Any]) -> None:
        """Refuse a secret that can't sign, and an old one for a new address."""
        from deploy_manager.notifications.webhooks import key_of

        secret = sent.get("new_secret")
        if secret is None and self.instance.pk and {"url", "form"} & set(self.changed_data):
            # Who may change the address must not have the secret of others sent there.
            raise ValidationError(_("Enter the secret again, as it would be sent elsewhere."))
        if secret is not None and sent.get("form") == OutgoingWebhook.Form.STANDARD:
            try:
                key_of(secret.value)
            except WebhookFailed as error:
                raise ValidationError(str(error)) from None

    def save(self, commit: bool = True) -> Any:
        if (secret := self.cleaned_data.get("new_secret")) is not None:
            self.instance.secret = secret
        return super().save(commit)


class OutgoingWebhookInline(OfEnvironmentInline, StackedInline[OutgoingWebhook, Environment]):
    model = OutgoingWebhook
    form = OutgoingWebhookForm
    extra = 0
    fields = ("name", "form", "url", "new_secret", "stored", "states", "is_enabled", "latest")
    readonly_fields = ("stored", "latest")

    def get_fields(self, request: HttpRequest, obj: Environment | None = None) -> Any:
        # Who may only look has nothing to enter.
        may_change = self._may_change(request, obj)
        return [name for name in self.fields if may_change or name != "new_secret"]

    @admin.display(description=_("stored"))
    def stored(self, webhook: OutgoingWebhook) -> SafeString | str:
        """Return what tells this secret from another one."""
        if not webhook.pk:
            return ""
        known = webhook.secret
        name = known.fingerprint if isinstance(known, Sealed) else ""
        return format_html("<code>{}</code>", name or gettext("no value"))

    @admin.display(description=_("last deliveries"))
    def latest(self, webhook: OutgoingWebhook) -> SafeString | str:
        """Return how the last messages fared, the newest first."""
        if not webhook.pk:
            return ""
        rows = webhook.deliveries.order_by("-pk")[:DELIVERIES_SHOWN]
        lines = [(f"#{row.deployment_id}", describe_delivery(row)) for row in rows]
        if not lines:
            return gettext("none yet")
        return format_html_join(
            SafeString("<br>"), '{} <span class="dm-quiet dm-lines">{}</span>', lines
        )


def describe_delivery(row: OutgoingDelivery) -> str:
    """Return whether a message arrived, and what comes next if it did not."""
    if row.delivered_at:
        return gettext("delivered %s") % short_time(row.delivered_at)
    if row.next_at is None:
        return str(row.problem)
    words = {"when": short_time(row.next_at), "why": row.problem or gettext("waits")}
    return gettext("%(why)s Next attempt: %(when)s") % words
