"""From a click to a deployment: what would happen is shown, then asked for as it was shown."""

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager import dispatch
from deploy_manager.admin.addresses import LONGEST_ID
from deploy_manager.admin.badges import deployment_link, deployment_url
from deploy_manager.admin.deployments.forms import OccasionForm, RunForm
from deploy_manager.admin.deployments.proposal import propose, rehearse
from deploy_manager.admin.permissions import visible_environments
from deploy_manager.exceptions import RequestRefused, UnknownRecipe
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.models.rights import may_deploy
from deploy_manager.recipes import Pipeline, get_pipeline

CHANGELIST = "admin:deploy_manager_environment_changelist"
TEMPLATE = "admin/deploy_manager/environment/run.html"


def run_view(admin: "ModelAdmin[Environment]", request: HttpRequest, recipe: str) -> HttpResponse:
    """Show what would happen; on a confirmed POST that shows the same, ask for it.

    `_confirm` asks for what may run now, `_wait` for the others too, `_rehearse` shows commands.
    """
    page = _Page(admin, request, _find_pipeline(recipe))
    confirms = "_confirm" in request.POST or "_wait" in request.POST
    is_agreed = confirms and page.is_agreed()
    if is_agreed and page.lacks_tick():
        messages.error(request, _("An upgrade or a fix would be taken back: tick that you agree."))
    elif is_agreed and page.occasion.is_valid():
        return page.request_all()
    elif confirms and not is_agreed:
        messages.warning(request, _("This is not what was shown before: please look again."))
    return page.render()


def _find_pipeline(recipe: str) -> Pipeline:
    try:
        return get_pipeline(recipe)
    except UnknownRecipe as error:
        raise Http404(str(error)) from None


def _find_environments(request: HttpRequest) -> list[Environment]:
    """The environments of the page's address; raises Http404 and PermissionDenied."""
    words = request.GET.get("on", "").split(",")
    ids = [word for word in words if word.isdecimal() and len(word) <= LONGEST_ID]
    found = visible_environments(request, Environment.objects.filter(pk__in=ids))
    environments = list(
        found.select_related("project").prefetch_related(
            "placements__server", "placements__active_release"
        )
    )
    if not environments:
        raise Http404(_("There is no such environment."))
    if not all(may_deploy(request.user, environment) for environment in environments):
        raise PermissionDenied
    return environments


class _Page:
    """One request's forms, and what is done with them."""

    def __init__(
        self, admin: "ModelAdmin[Environment]", request: HttpRequest, pipeline: Pipeline
    ) -> None:
        self._admin = admin
        self._request = request
        self._pipeline = pipeline
        self._waits = "_wait" in request.POST
        data = request.POST if request.method == "POST" else None
        servers = request.GET.getlist("server")
        self.occasion = OccasionForm(data)
        self._forms = [
            RunForm(environment, pipeline, data, servers)
            for environment in _find_environments(request)
        ]

    def is_agreed(self) -> bool:
        """Whether what was sent, for those that are to run, is what was shown."""
        sent = self._confirmed()
        return bool(sent) and all(form.is_valid() and form.is_as_shown() for form in sent)

    def lacks_tick(self) -> bool:
        """Whether nobody agreed to what would be taken back."""
        return any(form.lacks_tick for form in self._confirmed())

    def _confirmed(self) -> list[RunForm]:
        return [form for form in self._forms if form.is_confirmed(self._waits)]

    def request_all(self) -> HttpResponse:
        """Ask for what was confirmed, and lead to where it is seen."""
        written = [self._request_one(form) for form in self._confirmed()]
        if len(self._forms) == 1 and written[0] is not None:
            return HttpResponseRedirect(deployment_url(written[0].pk))
        return HttpResponseRedirect(reverse(CHANGELIST))

    def _request_one(self, form: RunForm) -> Deployment | None:
        """Ask for one deployment; None where it was refused, which the user is told."""
        user = self._request.user
        try:
            deployment = dispatch.request(
                form.environment,
                self._pipeline.name,
                source="admin",
                requested_by_name=str(user),
                user=user,
                options=replace(form.options(), waits=self._waits, **self.occasion.cleaned_data),
            )
        except RequestRefused as error:
            messages.error(self._request, _refusal(form.environment, error))
            return None
        self._admin.log_addition(self._request, deployment, _("Requested."))  # type: ignore[arg-type]
        messages.success(self._request, _success(deployment))
        return deployment

    def render(self) -> HttpResponse:
        """Show what would happen, and every command of it where that is asked for."""
        proposals = [propose(form.environment, self._pipeline, form) for form in self._forms]
        if "_rehearse" in self._request.POST:
            proposals = [rehearse(proposal, self._pipeline) for proposal in proposals]
        context: dict[str, Any] = {
            **self._admin.admin_site.each_context(self._request),
            "opts": self._admin.opts,
            "media": self._admin.media,
            "title": _(self._pipeline.title),
            "pipeline": self._pipeline,
            "proposals": proposals,
            "occasion": self.occasion,
            "time_zone": timezone.get_current_timezone_name(),
            "runnable": [proposal for proposal in proposals if proposal.can_run],
            "waitable": [proposal for proposal in proposals if proposal.can_wait],
        }
        return TemplateResponse(self._request, TEMPLATE, context)


def _success(deployment: Deployment) -> SafeString:
    if deployment.state == State.WAITING:
        return format_html("{}: {}", deployment_link(deployment), deployment.message)
    return format_html(_("{} was requested."), deployment_link(deployment))


def _refusal(environment: Environment, error: RequestRefused) -> SafeString:
    """Why, with a link to the deployment that is in the way."""
    live = Deployment.objects.busy().filter(environment=environment).first()
    return format_html("{} {}", str(error), deployment_link(live) if live else "")
