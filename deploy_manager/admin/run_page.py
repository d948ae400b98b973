"""From a click to a deployment: what would happen is shown, then asked for as it was shown."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager import tasks
from deploy_manager.admin.badges import deployment_link, deployment_url
from deploy_manager.admin.permissions import visible_environments
from deploy_manager.admin.run_forms import ReasonForm, RunForm
from deploy_manager.admin.run_plan import Proposal, propose
from deploy_manager.exceptions import RequestRefused, UnknownRecipe
from deploy_manager.models import Deployment, Environment
from deploy_manager.recipes import Story, get_story
from deploy_manager.runner import may_deploy

CHANGELIST = "admin:deploy_manager_environment_changelist"
TEMPLATE = "admin/deploy_manager/environment/run.html"
LONGEST_ID = 18
"""Digits; a longer number is none that a database gave."""


def run_url(recipe: str, environments: list[int]) -> str:
    """The page that shows what a recipe would do on these environments."""
    query = ",".join(map(str, environments))
    return f"{reverse('admin:deploy_manager_environment_run', args=[recipe])}?on={query}"


def run_view(admin: "ModelAdmin[Environment]", request: HttpRequest, recipe: str) -> HttpResponse:
    """Show what would happen; on a confirmed POST that shows the same, ask for it."""
    story = _find_story(recipe)
    environments = _find_environments(request)
    data = request.POST if request.method == "POST" else None
    reason = ReasonForm(data)
    forms = [RunForm(environment, story, data) for environment in environments]
    if "_confirm" in request.POST and reason.is_valid() and _agreed(forms):
        return _request_all(admin, request, story, forms, reason.cleaned_data["reason"])
    if "_confirm" in request.POST:
        messages.warning(request, _("This is not what was shown before: please look again."))
    proposals = [propose(form.environment, story, form) for form in forms]
    return _render(admin, request, story, proposals, reason)


def _find_story(recipe: str) -> Story:
    try:
        return get_story(recipe)
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


def _agreed(forms: list[RunForm]) -> bool:
    """Whether what was sent, for those that are to run, is what was shown."""
    sent = [form for form in forms if form.is_confirmed]
    return bool(sent) and all(form.is_valid() and form.is_as_shown() for form in sent)


def _request_all(
    admin: "ModelAdmin[Environment]",
    request: HttpRequest,
    story: Story,
    forms: list[RunForm],
    reason: str,
) -> HttpResponse:
    confirmed = [form for form in forms if form.is_confirmed]
    written = [_request_one(admin, request, story, form, reason) for form in confirmed]
    if len(forms) == 1 and written[0] is not None:
        return HttpResponseRedirect(deployment_url(written[0].pk))
    return HttpResponseRedirect(reverse(CHANGELIST))


def _request_one(
    admin: "ModelAdmin[Environment]", request: HttpRequest, story: Story, form: RunForm, reason: str
) -> Deployment | None:
    """Ask for one deployment; None where it was refused, which the user is told."""
    sent = form.cleaned_data
    try:
        deployment = tasks.request(
            form.environment,
            story.name,
            door="admin",
            requested_as=str(request.user),
            user=request.user,
            ref=form.ref_now,
            commit=sent["commit"],
            servers=sent["servers"],
            reason=reason,
        )
    except RequestRefused as error:
        messages.error(request, _refusal(form.environment, error))
        return None
    admin.log_addition(request, deployment, _("Requested."))  # type: ignore[arg-type]
    messages.success(request, format_html(_("{} was requested."), deployment_link(deployment)))
    return deployment


def _refusal(environment: Environment, error: RequestRefused) -> SafeString:
    """Why, with a link to the deployment that is in the way."""
    live = Deployment.objects.live().filter(environment=environment).first()
    return format_html("{} {}", str(error), deployment_link(live) if live else "")


def _render(
    admin: "ModelAdmin[Environment]",
    request: HttpRequest,
    story: Story,
    proposals: list[Proposal],
    reason: ReasonForm,
) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "media": admin.media,
        "title": _(story.title),
        "story": story,
        "proposals": proposals,
        "reason": reason,
        "runnable": [proposal for proposal in proposals if proposal.can_run],
    }
    return TemplateResponse(request, TEMPLATE, context)
