"""The page that lets an override go: what would come back is shown, and a reason is asked for."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Override
from deploy_manager.models.rights import may_deploy
from deploy_manager.packages.overrides import let_go, what_comes_back

TEMPLATE = "admin/deploy_manager/override/let_go.html"


class LetGoForm(forms.Form):
    """Why the repository's pin is wanted."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=500,
        help_text=_("Stands in the history."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )


def let_go_view(
    admin: "ModelAdmin[Override]", request: HttpRequest, override: Override | None
) -> HttpResponse:
    """Show what would come back, and let the package's overrides go on a POST with a reason.

    `override` is one that the user may see; None: there is no such. Raises Http404 and
    PermissionDenied.
    """
    if override is None:
        raise Http404(gettext("There is no such override."))
    if not may_deploy(request.user, override.environment):
        raise PermissionDenied
    form = LetGoForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        return _let_go(admin, request, override, form.cleaned_data["reason"])
    change = what_comes_back(override.environment, override.name)
    context: dict[str, Any] = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "title": gettext("Let an override go"),
        "subtitle": str(override),
        "original": override,
        "change": change,
        "changes": [change],
        "form": form,
    }
    return TemplateResponse(request, TEMPLATE, context)


def _let_go(
    admin: "ModelAdmin[Override]", request: HttpRequest, override: Override, reason: str
) -> HttpResponse:
    name = override.name
    try:
        let_go(override.environment, name, by=str(request.user), reason=reason)
    except RequestRefused as error:
        messages.error(request, str(error))
    else:
        admin.log_change(request, override, gettext("Let go: %(why)s") % {"why": reason})
        text = gettext("%(name)s is let go: the next deployment takes the repository's pin.")
        messages.success(request, text % {"name": name})
    return HttpResponseRedirect(reverse("admin:deploy_manager_override_change", args=[override.pk]))
