"""Pins from a requirements file: what would change is shown first, then written."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment
from deploy_manager.requirements import Pin, compare_pins, read_pins
from deploy_manager.runner.pins import pins_of, replace_pins

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

MAX_BYTES = 1024 * 1024
TEMPLATE = "admin/deploy_manager/environment/requirements.html"


class RequirementsForm(forms.Form):
    """A requirements file, pasted or sent as a file."""

    text = forms.CharField(
        label=gettext_lazy("Requirements"),
        required=False,
        max_length=MAX_BYTES,
        widget=forms.Textarea(
            attrs={"class": "vLargeTextField dm-mono", "rows": 16, "spellcheck": "false"}
        ),
        help_text=gettext_lazy(
            "A complete set of exact pins, name==version, hashes if you have them."
        ),
    )
    upload = forms.FileField(label=gettext_lazy("Or a file"), required=False)

    def clean_upload(self) -> str:
        """The file's text."""
        upload = self.cleaned_data["upload"]
        if upload is None:
            return ""
        if upload.size > MAX_BYTES:
            raise forms.ValidationError(_("The file is larger than 1 MiB."))
        try:
            return str(upload.read().decode())
        except UnicodeDecodeError:
            raise forms.ValidationError(_("The file is not text in UTF-8.")) from None

    def clean(self) -> dict[str, Any]:
        """Read the pins; a file goes before what was pasted."""
        sent = super().clean() or {}
        if self.errors:
            return sent
        text = sent["upload"] or sent["text"]
        if not text.strip():
            raise forms.ValidationError(_("Paste requirements, or choose a file."))
        try:
            sent["pins"] = read_pins(text)
        except PinError as error:
            raise forms.ValidationError("%(why)s", params={"why": str(error)}) from None
        sent["source"] = text
        return sent


def import_view(admin: "ModelAdmin[Environment]", request: HttpRequest, pk: int) -> HttpResponse:
    """Show the form, then what would change, then write it."""
    found = Environment.objects.select_related("project")
    environment = get_object_or_404(found, pk=pk)
    if not admin.has_change_permission(request, environment):
        raise PermissionDenied
    form = RequirementsForm(request.POST or None, request.FILES or None)
    if not form.is_valid():
        return _render(admin, request, environment, {"form": form})
    pins = form.cleaned_data["pins"]
    if "_save" in request.POST:
        return _write(admin, request, environment, pins)
    return _render(admin, request, environment, _preview(environment, form.cleaned_data))


def _preview(environment: Environment, sent: dict[str, Any]) -> dict[str, Any]:
    return {
        "form": RequirementsForm(initial={"text": sent["source"]}),
        "pins": sent["pins"],
        "changes": compare_pins(pins_of(environment), sent["pins"]),
        "looked_at": True,
    }


def _write(
    admin: "ModelAdmin[Environment]",
    request: HttpRequest,
    environment: Environment,
    pins: tuple[Pin, ...],
) -> HttpResponse:
    replace_pins(environment, pins)
    admin.log_change(request, environment, _("Requirements imported."))
    count = len(pins)
    admin.message_user(
        request,
        ngettext("%(count)d requirement written.", "%(count)d requirements written.", count)
        % {"count": count},
    )
    url = reverse("admin:deploy_manager_requirement_changelist")
    return HttpResponseRedirect(f"{url}?environment__id__exact={environment.pk}")


def _render(
    admin: "ModelAdmin[Environment]",
    request: HttpRequest,
    environment: Environment,
    extra: dict[str, Any],
) -> HttpResponse:
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "title": _("Import requirements"),
        "subtitle": str(environment),
        "original": environment,
        **extra,
    }
    return TemplateResponse(request, TEMPLATE, context)
