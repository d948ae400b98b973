"""The page that runs a management command of a site once: typed, shown as it runs, confirmed."""

import json
from functools import cached_property
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from deploy_manager import dispatch
from deploy_manager.admin.addresses import deployment_url
from deploy_manager.admin.badges import deployment_link
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.deployments.decided import describe
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.site_commands import refuse_unfit_arguments, split_words
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Placement
from deploy_manager.models.deployments import MANAGE_SITE
from deploy_manager.models.rights import Right, may
from deploy_manager.visibility import visible

TEMPLATE = "admin/deploy_manager/environment/site_command.html"


class SiteCommandForm(forms.Form):
    """The words, the server and the reason, together with what the page showed when it was sent."""

    command = forms.CharField(
        label=gettext_lazy("Command"),
        max_length=10_000,
        help_text=gettext_lazy(
            "As you would type it after manage.py: clearsessions --verbosity 2. It has no terminal"
            " and is asked nothing. What you type and what it prints are stored, and shown to"
            " everybody who may see the deployment: put no password in it."
        ),
        widget=forms.TextInput(attrs={"class": "vTextField dm-mono", "spellcheck": "false"}),
    )
    server = forms.ChoiceField(label=gettext_lazy("Server"))
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=Deployment._meta.get_field("reason").max_length,
        help_text=gettext_lazy("For the history. Optional."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    shown = forms.CharField(required=False, max_length=30_000)

    def __init__(self, environment: Environment, data: Any = None) -> None:
        super().__init__(data)
        self._environment = environment
        found = environment.placements.select_related("server", "active_release")
        self.placements = {each.server.name: each for each in found}
        self.fields["server"].choices = [(name, name) for name in self.placements]  # type: ignore[attr-defined]

    def clean_command(self) -> list[str]:
        try:
            words = split_words(self.cleaned_data["command"])
            refuse_unfit_arguments(MANAGE_SITE, words, (), ())
        except RequestRefused as error:
            raise ValidationError(str(error)) from None
        return words

    def clean_server(self) -> str:
        name: str = self.cleaned_data["server"]
        placement = self.placements[name]
        if placement.active_release is None and not placement.is_unknown:
            raise ValidationError(_("No release serves there yet: deploy first."))
        return name

    @property
    def placement(self) -> Placement:
        return self.placements[self.cleaned_data["server"]]

    @property
    def to_show(self) -> str:
        """What is confirmed: the words, the server, its release, and what decides how they run."""
        words, release = self.cleaned_data["command"], self.placement.active_release
        return json.dumps([words, self.cleaned_data["server"], str(release or ""), self.plan])

    @cached_property
    def plan(self) -> str:
        """The digest of what decides what runs there."""
        decided = describe(self._environment, [self.placement], pins=False, recipes=[MANAGE_SITE])
        return decided.save().digest


def site_command_view(
    admin: StyledAdmin[Environment], request: HttpRequest, pk: int
) -> HttpResponse:
    """Ask for a command; show what would run where; on a `_confirm` of just that, request it.

    Raises Http404 and PermissionDenied.
    """
    found = Environment.objects.select_related("project").filter(pk=pk)
    environment = visible(request, found).first()
    if environment is None:
        raise Http404(_("There is no such environment."))
    if not may(request.user, Right.RUN_RECIPE, environment):
        raise PermissionDenied
    form = SiteCommandForm(environment, request.POST if request.method == "POST" else None)
    is_valid = form.is_valid()
    if is_valid and "_confirm" in request.POST:
        if form.cleaned_data["shown"] == form.to_show:
            if (deployment := _request(admin, request, environment, form)) is not None:
                return HttpResponseRedirect(deployment_url(deployment.pk))
        else:
            messages.warning(
                request, _("This has changed since it was shown: please check it again.")
            )
    return admin.render_page(
        request,
        TEMPLATE,
        _("Run a management command"),
        subtitle=str(environment),
        original=environment,
        form=form,
        fields=[form["command"], form["server"], form["reason"]],
        words=form.cleaned_data["command"] if is_valid else [],
        placement=form.placement if is_valid else None,
        to_show=form.to_show if is_valid else "",
    )


def _request(
    admin: StyledAdmin[Environment],
    request: HttpRequest,
    environment: Environment,
    form: SiteCommandForm,
) -> Deployment | None:
    """Request what was confirmed; if that is refused, show why and return None."""
    given = form.cleaned_data
    try:
        deployment = dispatch.request(
            environment,
            MANAGE_SITE,
            source="admin",
            requested_by_name=str(request.user),
            user=request.user,
            options=DeploymentOptions(
                servers=[given["server"]],
                arguments=given["command"],
                reason=given["reason"],
                shown=form.plan,
            ),
        )
    except RequestRefused as error:
        messages.error(request, str(error))
        return None
    admin.log_addition(request, deployment, _("Requested."))  # type: ignore[arg-type]
    messages.success(request, format_html(_("{} was requested."), deployment_link(deployment)))
    return deployment
