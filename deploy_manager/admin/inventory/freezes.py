"""The page that freezes an environment, shows why it is frozen, and thaws it."""

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.forms import FutureField
from deploy_manager.admin.permissions import visible_environments
from deploy_manager.logs import mask_text
from deploy_manager.models import Environment
from deploy_manager.models.rights import may_deploy

TEMPLATE = "admin/deploy_manager/environment/freeze.html"


class FreezeForm(forms.Form):
    """The reason why nothing may change, and until when."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=Environment._meta.get_field("frozen_reason").max_length,
        help_text=gettext_lazy("Shown to everyone who requests a change."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    until = FutureField(
        label=gettext_lazy("Until"),
        required=False,
        help_text=gettext_lazy("Leave blank to freeze it until it is thawed."),
    )


def freeze_view(admin: StyledAdmin[Environment], request: HttpRequest, pk: int) -> HttpResponse:
    """Show whether it is frozen; a POST freezes it, one with `_thaw` thaws it."""
    environment = _find(request, pk)
    if request.method == "POST" and "_thaw" in request.POST:
        return _thaw(admin, request, environment)
    form = FreezeForm(
        request.POST if request.method == "POST" else None,
        initial={"reason": environment.frozen_reason, "until": environment.frozen_until},
    )
    if form.is_valid():
        reason = mask_text(form.cleaned_data["reason"])
        environment.freeze(reason, str(request.user), form.cleaned_data["until"])
        admin.log_change(request, environment, environment.describe_freeze())
        messages.success(request, environment.describe_freeze())
        return _back(environment)
    return admin.render_page(
        request,
        TEMPLATE,
        _("Freeze"),
        subtitle=str(environment),
        original=environment,
        form=form,
        time_zone=timezone.get_current_timezone_name(),
    )


def frozen_mark(environment: Environment) -> SafeString | str:
    """Return a mark for lists, with all about the freeze as a tooltip; blank if not frozen."""
    if not environment.is_frozen:
        return ""
    return format_html(
        '<span class="dm-frozen" title="{}">{}</span>', environment.describe_freeze(), _("frozen")
    )


def _find(request: HttpRequest, pk: int) -> Environment:
    """Return an environment that the user may deploy. Raises Http404 and PermissionDenied."""
    found = Environment.objects.select_related("project").filter(pk=pk)
    environment = visible_environments(request, found).first()
    if environment is None:
        raise Http404(_("There is no such environment."))
    if not may_deploy(request.user, environment):
        raise PermissionDenied
    return environment


def _thaw(
    admin: StyledAdmin[Environment], request: HttpRequest, environment: Environment
) -> HttpResponse:
    if environment.thaw():
        admin.log_change(request, environment, _("Thawed."))
        messages.success(request, _("%(site)s may change again.") % {"site": environment})
    else:
        messages.warning(request, _("%(site)s was not frozen.") % {"site": environment})
    return _back(environment)


def _back(environment: Environment) -> HttpResponse:
    return HttpResponseRedirect(
        reverse("admin:deploy_manager_environment_change", args=[environment.pk])
    )
