"""The pages that confirm and start a deployment: its plan is shown, then requested as shown.

The actions of environments lead here, one for each pipeline and recipe.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

from deploy_manager import dispatch
from deploy_manager.admin.addresses import (
    deployment_url,
    ids_in,
    run_url,
    site_command_url,
    start_upgrade_url,
)
from deploy_manager.admin.badges import deployment_link
from deploy_manager.admin.base import StyledAdmin
from deploy_manager.admin.deployments.forms import OccasionForm, RunForm, goes_back
from deploy_manager.admin.deployments.proposal import propose, rehearse
from deploy_manager.conf import get_settings
from deploy_manager.deployments.approvals import needs_approval
from deploy_manager.deployments.provisioning import PREVIEW, PROVISION
from deploy_manager.exceptions import PlanChanged, RequestRefused, UnknownRecipe
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.models.deployments import (
    CONVERGE,
    DEPLOY,
    MANAGE_SITE,
    ROLLBACK,
    UPGRADE,
    right_to,
)
from deploy_manager.models.rights import Right, may
from deploy_manager.recipes import Pipeline, Uses, all_pipelines, get_pipeline
from deploy_manager.visibility import visible

CHANGELIST = "admin:deploy_manager_environment_changelist"
TEMPLATE = "admin/deploy_manager/environment/run.html"

UPGRADE_ACTION = "upgrade_packages"
PROVISION_ACTION = f"run_{PREVIEW}"
FIRST = (DEPLOY, ROLLBACK, CONVERGE)
OFF = (PREVIEW, PROVISION)
ASKED_FIRST = (UPGRADE, MANAGE_SITE)
"""These have a page of their own, which asks what to do."""

Action = Callable[[Any, HttpRequest, QuerySet[Environment]], HttpResponse | None]


def run_actions(rights: Collection[Right]) -> dict[str, tuple[Action, str, str]]:
    """Return the actions that need one of these rights, those for the whole site first.

    Parts of a rollback have none, as they are useless on their own. Servers are provisioned from
    the page of the preview, if at all. An upgrade starts from its
    packages, a one-off command from its words.
    """
    left_out = (*ASKED_FIRST, PROVISION) if get_settings().PROVISION else (*ASKED_FIRST, *OFF)
    startable = [
        pipeline
        for pipeline in all_pipelines()
        if right_to(pipeline.name) in rights
        and (pipeline.name == ROLLBACK or not (goes_back(pipeline) or pipeline.name in left_out))
    ]
    actions: dict[str, tuple[Action, str, str]] = {}
    for pipeline in sorted(startable, key=lambda pipeline: pipeline.name not in FIRST):
        name = f"run_{pipeline.name}"
        # The admin formats the title with %.
        title = _(pipeline.title).replace("%", "%%")
        if pipeline.name == PREVIEW:
            title = _("Provision…")
        actions[name] = (
            _run_action(pipeline),
            name,
            f"{title}…" if pipeline.name in FIRST[1:] else title,
        )
    if Right.UPGRADE in rights:
        actions[UPGRADE_ACTION] = (_upgrade_action, UPGRADE_ACTION, _("Upgrade packages…"))
    return actions


def _run_action(pipeline: Pipeline) -> Action:
    def show_plan(
        admin: Any, request: HttpRequest, queryset: QuerySet[Environment]
    ) -> HttpResponse | None:
        chosen = list(queryset.select_related("project").order_by("pk"))
        right = right_to(pipeline.name)
        refused = [entry for entry in chosen if not may(request.user, right, entry)]
        if refused:
            names = ", ".join(map(str, refused))
            messages.error(request, _("You may not do this on %(names)s.") % {"names": names})
            return None
        return HttpResponseRedirect(run_url(pipeline.name, [entry.pk for entry in chosen]))

    return show_plan


def _upgrade_action(
    admin: Any, request: HttpRequest, queryset: QuerySet[Environment]
) -> HttpResponse:
    """Redirect to the page that asks for the packages; each environment has its turn there."""
    chosen = queryset.order_by("project__name", "name").values_list("pk", flat=True)
    return HttpResponseRedirect(start_upgrade_url(chosen))


def run_view(admin: StyledAdmin[Environment], request: HttpRequest, recipe: str) -> HttpResponse:
    """Show what would happen; on a confirming POST that shows the same, request it.

    `_confirm` requests what may run now, `_wait` the rest, too; `_rehearse` shows commands.
    """
    try:
        pipeline = get_pipeline(recipe)
    except UnknownRecipe as error:
        raise Http404(str(error)) from None
    if pipeline.name == MANAGE_SITE:
        # It asks for the words first, and runs on one environment.
        return HttpResponseRedirect(site_command_url(_find_environments(request, recipe)[0].pk))
    page = _Page(admin, request, pipeline)
    confirms = "_confirm" in request.POST or "_wait" in request.POST
    is_agreed = confirms and page.is_agreed()
    if is_agreed and page.lacks_tick():
        text = _("An upgrade or a fix would be taken back: tick the box to confirm it.")
        messages.error(request, text)
    elif is_agreed and page.occasion.is_valid():
        if answer := page.request_all():
            return answer
        is_agreed = False
    if confirms and not is_agreed:
        messages.warning(request, _("This has changed since it was shown: please check it again."))
    return page.render()


class _Page:
    """The forms of one request, and what is done with them."""

    def __init__(
        self, admin: StyledAdmin[Environment], request: HttpRequest, pipeline: Pipeline
    ) -> None:
        self._admin = admin
        self._request = request
        self._pipeline = pipeline
        self._waits = "_wait" in request.POST
        data = request.POST if request.method == "POST" else None
        servers = request.GET.getlist("server")
        environments = _find_environments(request, pipeline.name)
        self.occasion = OccasionForm(
            data,
            is_guarded=any(_is_guarded(each, pipeline) for each in environments),
        )
        self._forms = [
            RunForm(environment, pipeline, data, servers) for environment in environments
        ]

    def is_agreed(self) -> bool:
        """Return whether the confirmed environments would run as the page showed them."""
        confirmed = self._confirmed()
        if not confirmed or not all(each.is_valid() and each.is_as_shown() for each in confirmed):
            return False
        if len(confirmed) == 1:
            return True  # its request looks, too, and nothing is written if that finds a change
        # Each of them is looked at, so that the page names the changes of all.
        changed = [each for each in confirmed if each.note_changes(self._pipeline)]
        return not changed

    def lacks_tick(self) -> bool:
        """Return whether an upgrade would be taken back without the user's consent."""
        return any(form.lacks_tick for form in self._confirmed())

    def _confirmed(self) -> list[RunForm]:
        return [form for form in self._forms if form.is_confirmed(self._waits)]

    def request_all(self) -> HttpResponse | None:
        """Request what was confirmed, and redirect to its page; None: the only one has changed."""
        confirmed = self._confirmed()
        try:
            requested = [self._request_one(form) for form in confirmed]
        except PlanChanged as error:
            confirmed[0].changed = error.message
            return None
        if len(self._forms) == 1 and requested[0] is not None:
            return HttpResponseRedirect(deployment_url(requested[0].pk))
        return HttpResponseRedirect(reverse(CHANGELIST))

    def _request_one(self, form: RunForm) -> Deployment | None:
        """Request one deployment; if it is refused, show why and return None.

        Raises PlanChanged if it is the only one: the page then shows what was changed.
        """
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
            if isinstance(error, PlanChanged) and len(self._confirmed()) == 1:
                raise
            busy = Deployment.objects.busy().filter(environment=form.environment).first()
            link = deployment_link(busy) if busy else ""
            messages.error(self._request, format_html("{} {}", str(error), link))
            return None
        said = _("Requested.")
        if deployment.breaks_glass:
            said = _("Break-glass, without approval: %(why)s") % {"why": deployment.reason}
        self._admin.log_addition(self._request, deployment, said)  # type: ignore[arg-type]
        link = deployment_link(deployment)
        if deployment.state == State.WAITING:
            text = format_html("{}: {}", link, deployment.message)
        else:
            text = format_html(_("{} was requested."), link)
        messages.success(self._request, text)
        return deployment

    def render(self) -> HttpResponse:
        """Show what would happen, on `_rehearse` with every command."""
        proposals = [propose(form.environment, self._pipeline, form) for form in self._forms]
        if "_rehearse" in self._request.POST:
            proposals = [rehearse(proposal, self._pipeline) for proposal in proposals]
        return self._admin.render_page(
            self._request,
            TEMPLATE,
            _(self._pipeline.title),
            pipeline=self._pipeline,
            is_preview=self._pipeline.name == PREVIEW,
            provisions=self._pipeline.name == PROVISION,
            proposals=proposals,
            occasion=self.occasion,
            zone_name=timezone.get_current_timezone_name(),
            runnable=[proposal for proposal in proposals if proposal.can_run],
            waitable=[proposal for proposal in proposals if proposal.can_wait],
        )


def _is_guarded(environment: Environment, pipeline: Pipeline) -> bool:
    """Whether it may wait for approvals or for checks, so that glass can be broken."""
    checks = pipeline.uses is Uses.NEW and environment.required_statuses
    return bool(checks or (needs_approval(pipeline) and environment.approvals_needed))


def _find_environments(request: HttpRequest, recipe: str) -> list[Environment]:
    """Return the environments in the page's URL. Raises Http404 and PermissionDenied."""
    found = visible(request, Environment.objects.filter(pk__in=ids_in(request)))
    environments = list(
        found.select_related("project").prefetch_related(
            "placements__server", "placements__active_release"
        )
    )
    if not environments:
        raise Http404(_("There is no such environment."))
    right = right_to(recipe)
    if not all(may(request.user, right, environment) for environment in environments):
        raise PermissionDenied
    return environments
