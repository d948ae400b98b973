"""Secret variables on the page of an environment: written there, never shown."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from deploy_manager.admin.base import ModelForm, OfEnvironmentInline, TabularInline
from deploy_manager.admin.forms import WriteOnlyTextarea
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import Environment, SecretVariable
from deploy_manager.models.rights import Right, may
from deploy_manager.models.secret_variables import secret_of
from deploy_manager.sealing import current_public_key


class SecretInput(WriteOnlyTextarea):
    """Takes what a page never shows again. Of several lines, as a key may have."""

    def __init__(self) -> None:
        # Readable for nobody who looks at the screen; see admin.css.
        hidden = {"autocomplete": "off", "spellcheck": "false", "class": "dm-secret"}
        super().__init__({"rows": 1, "cols": 30, **hidden})


class SecretVariableForm(ModelForm[SecretVariable]):
    new_value = forms.CharField(label=_("value"), widget=SecretInput, strip=False, required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "new_value" in self.fields and self.instance.pk:
            self.fields["new_value"].widget.attrs["placeholder"] = gettext("unchanged")

    @sensitive_variables()
    def clean_new_value(self) -> Any:
        """Return the value, as a Secret; None: it stays as it is. Raises ValidationError."""
        # Browsers send CRLF as the end of each line, whatever was typed or pasted.
        text = (self.cleaned_data.get("new_value") or "").replace("\r\n", "\n")
        if not text:
            if not self.instance.pk:
                raise ValidationError(_("Enter its value."))
            return None
        try:
            current_public_key()
        except ConfigurationError as error:
            raise ValidationError(str(error)) from None
        return secret_of(text)

    def save(self, commit: bool = True) -> Any:
        if (value := self.cleaned_data.get("new_value")) is not None:
            self.instance.change(value, self.changed_by)
        return super().save(commit)

    changed_by = ""
    """The name of the user, set by the inline."""


class SecretVariableInline(OfEnvironmentInline, TabularInline[SecretVariable, Environment]):
    model = SecretVariable
    form = SecretVariableForm
    extra = 0
    fields = ("name", "new_value", "stored")
    readonly_fields = ("stored",)

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        user: Any = request.user
        options["form"] = type(
            self.form.__name__, (self.form,), {"changed_by": user.get_username()}
        )
        return super().get_formset(request, obj, **options)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Who may only look has nothing to enter: the column itself is never shown.
        return self.fields if self._may_change(request, obj) else ("name", "stored")

    def _may_change(self, request: HttpRequest, environment: Environment | None) -> bool:
        # Also on the page that adds one: the right to change it is not that to its secrets.
        return may(request.user, Right.CHANGE_SECRETS, environment)

    @admin.display(description=_("stored"))
    def stored(self, variable: SecretVariable) -> SafeString | str:
        """Return what tells this value from another one, and who entered it when."""
        if not variable.pk:
            return ""
        return format_html(
            '<code>{}</code> <span class="dm-quiet">{} {}</span>',
            variable.fingerprint or gettext("no value"),
            timezone.localtime(variable.changed_at).strftime("%Y-%m-%d %H:%M"),
            variable.changed_by_name,
        )
