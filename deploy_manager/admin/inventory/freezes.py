"""The page that freezes and thaws an environment, and the freezes on the environment's own page."""

from typing import TYPE_CHECKING, cast

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.forms import FutureField
from deploy_manager.auditing import noting
from deploy_manager.logs import mask_text
from deploy_manager.models import Environment, Freeze
from deploy_manager.models.freezes import ENDED
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import visible

if TYPE_CHECKING:
    from django.contrib.auth.models import User

TEMPLATE = "admin/deploy_manager/environment/freeze.html"
HISTORY_TEMPLATE = "admin/deploy_manager/environment/freezes.html"

MOST_SHOWN = 20
"""Freezes on an environment's page, the newest first."""


class FreezeForm(forms.Form):
    """The reason why nothing may change, and until when."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=Freeze._meta.get_field("reason").max_length,
        help_text=gettext_lazy("Shown to everyone who requests a change."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    until = FutureField(
        label=gettext_lazy("Until"),
        required=False,
        help_text=gettext_lazy("Leave blank to freeze it until it is thawed."),
    )


def freeze_view(admin: StyledAdmin[Environment], request: HttpRequest, pk: int) -> HttpResponse:
    """Show whether it is frozen; freeze it on a POST of the form, thaw it on one of `_thaw`.

    Times are typed and shown in the environment's time zone. Raises Http404 and PermissionDenied.
    """
    found = Environment.objects.select_related("project").filter(pk=pk)
    environment = visible(request, found).first()
    if environment is None:
        raise Http404(_("There is no such environment."))
    if not may(request.user, Right.FREEZE, environment):
        raise PermissionDenied
    back = reverse("admin:deploy_manager_environment_change", args=[environment.pk])
    by, user = str(request.user), cast("User", request.user)
    if request.method == "POST" and "_thaw" in request.POST:
        with noting(environment.freezes.open(), *ENDED):
            is_thawed = environment.thaw(by, user)
        if is_thawed:
            admin.log_change(request, environment, _("Thawed."))
            messages.success(request, _("%(site)s may change again.") % {"site": environment})
        else:
            messages.warning(request, _("%(site)s was not frozen.") % {"site": environment})
        return HttpResponseRedirect(back)
    freeze = environment.active_freeze
    form = FreezeForm(
        request.POST if request.method == "POST" else None,
        initial={"reason": freeze.reason, "until": freeze.until} if freeze else None,
    )
    with timezone.override(environment.zone):
        is_valid = form.is_valid()
    if is_valid:
        reason, until = mask_text(form.cleaned_data["reason"]), form.cleaned_data["until"]
        with noting(environment.freezes.open(), *ENDED):
            is_frozen = environment.freeze(reason, by, until, user)
        if is_frozen:
            admin.log_change(request, environment, str(environment.describe_freeze()))
            messages.success(request, str(environment.describe_freeze()))
        else:
            text = _("Someone else froze it at the same moment. %(freeze)s")
            messages.warning(request, text % {"freeze": environment.describe_freeze()})
        return HttpResponseRedirect(back)
    return admin.render_page(
        request,
        TEMPLATE,
        _("Freeze"),
        subtitle=str(environment),
        original=environment,
        freeze=freeze,
        form=form,
        # Not `time_zone`: the base template of Django 6.1 sets that to the current one.
        zone_name=str(environment.zone),
    )


def frozen_mark(environment: Environment) -> SafeString | str:
    """Return a word for lists, with who, until and why as its title; blank: it may change."""
    freeze = environment.active_freeze
    if freeze is None:
        return ""
    return format_html(
        '<span class="dm-frozen" title="{}">{}</span>', freeze.describe(), _("frozen")
    )


def describe_freezes(environment: Environment) -> SafeString:
    """Return a table of the last freezes: who, why, from when until when, ended by whom.

    The times are those of the environment's time zone, which is named.
    """
    freezes = environment.freezes.all()[:MOST_SHOWN]
    context = {"freezes": freezes, "zone_name": str(environment.zone)}
    return render_to_string(HISTORY_TEMPLATE, context)
