"""Deployments: the list, and the page where one is watched, cancelled and retried."""

import shlex
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from deploy_manager.admin.addresses import deployment_url, read_id
from deploy_manager.admin.badges import (
    short_commit,
    short_time,
    spell_duration,
    state_badge,
)
from deploy_manager.admin.base import HistoryAdmin, ReasonFilter, shown_problems
from deploy_manager.admin.deployments.approval_filter import ApprovalFilter
from deploy_manager.admin.downloads import stream_download
from deploy_manager.deployments import progress
from deploy_manager.models import Deployment, Problem, State
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may
from deploy_manager.models.shapes import texts_in
from deploy_manager.visibility import is_visible, visible


@admin.register(Deployment)
class DeploymentAdmin(HistoryAdmin[Deployment]):
    list_display = (
        "what",
        "state_shown",
        "environment",
        "commit_short",
        "requested",
        "duration",
    )
    list_display_links = ("what", "state_shown")
    list_filter = ("state", ApprovalFilter, ReasonFilter, "environment", "recipe", "source")
    list_select_related = ("environment__project",)
    search_fields = ("requested_by_name", "commit", "ref", "reason")
    date_hierarchy = "created_at"
    change_form_template = "admin/deploy_manager/deployment/change_form.html"

    class Media:
        # In this order: deferred scripts run in that of the page.
        js = [
            Script("deploy_manager/live.js", defer=True),
            Script("deploy_manager/deployment.js", defer=True),
        ]

    @admin.display(description=_("deployment"), ordering="recipe")
    def what(self, deployment: Deployment) -> str:
        return f"#{deployment.pk} {deployment.recipe}"

    @admin.display(description=_("state"), ordering="state")
    def state_shown(self, deployment: Deployment) -> SafeString:
        badge = state_badge(deployment.state)
        if deployment.breaks_glass:
            return format_html(
                '{} <strong class="dm-bad">{}</strong>', badge, gettext("break-glass")
            )
        if deployment.state == State.WAITING and deployment.approvals_needed:
            return format_html('{} <span class="dm-quiet">{}</span>', badge, deployment.message)
        return badge

    @admin.display(description=_("commit"), ordering="commit")
    def commit_short(self, deployment: Deployment) -> SafeString | str:
        return short_commit(deployment.commit) if deployment.commit else ""

    @admin.display(description=_("requested"), ordering="created_at")
    def requested(self, deployment: Deployment) -> SafeString:
        return format_html(
            '{} <span class="dm-quiet">{}<br><span class="dm-nowrap">{}</span></span>',
            deployment.requested_by_name,
            deployment.source,
            short_time(deployment.created_at),
        )

    @admin.display(description=_("duration"))
    def duration(self, deployment: Deployment) -> str:
        return spell_duration(deployment.started_at, deployment.finished_at)

    def get_urls(self) -> list[URLPattern]:
        views = {
            "progress": self.progress_view,
            "cancel": self.cancel_view,
            "retry": self.retry_view,
            "approve": self.approve_view,
            "log": self.log_view,
            "search": self.search_view,
            "notes": self.notes_view,
        }
        return [
            path(
                f"<int:pk>/{name}/",
                self.admin_site.admin_view(view),
                name=f"deploy_manager_deployment_{name}",
            )
            for name, view in views.items()
        ] + super().get_urls()

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page where a deployment is watched."""
        from deploy_manager.admin.deployments.approving import show_approvals
        from deploy_manager.admin.deployments.live_progress import describe_deployment
        from deploy_manager.admin.deployments.logs import read_tails
        from deploy_manager.admin.deployments.matrix import make_matrix
        from deploy_manager.admin.deployments.next_step import next_step
        from deploy_manager.deployments.retention import why_no_log
        from deploy_manager.packages.downgrades import confirmed_in

        # Django's view of a change form would write on a POST.
        if request.method != "GET" or object_id is None or not object_id.isdecimal():
            raise PermissionDenied
        # The row first: what changes after it was read comes with the first poll.
        deployment = self._find(request, int(object_id))
        matrix = make_matrix(deployment)
        context: dict[str, Any] = {
            "deployment": deployment,
            "original": deployment,
            "facts": describe_deployment(deployment),
            "command": shlex.join(texts_in(deployment.arguments)),
            "taken_back": sorted(confirmed_in(deployment.take_back)),
            "problems": shown_problems(Problem.objects.about(deployment)),
            "matrix": matrix,
            "may_run": may(request.user, right_to(deployment.recipe), deployment.environment),
            "approvals": show_approvals(request, deployment),
            "promotes_visible": deployment.promotes and is_visible(request, deployment.promotes),
            **next_step(deployment),
        }
        if may(request.user, Right.VIEW_LOG, deployment.environment):
            runs = [row.host_run for row in matrix.rows]
            context |= {"may_view_log": True, "tails": read_tails(deployment, runs)}
            context["why_no_log"] = why_no_log(deployment)
        return self.render_page(
            request,
            self.change_form_template or "",
            str(deployment),
            **context | (extra_context or {}),
        )

    @method_decorator([require_GET, never_cache])
    def progress_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return as JSON what changed after the cursor `after`."""
        from deploy_manager.admin.deployments.live_progress import to_json

        deployment = self._find(request, pk)
        try:
            after = int(request.GET.get("after", progress.FROM_THE_START))
        except ValueError:
            return JsonResponse({"error": gettext("“after” must be a number.")}, status=400)
        with_output = may(request.user, Right.VIEW_LOG, deployment.environment)
        return JsonResponse(to_json(progress.read(pk, after), with_output))

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Request the cancellation; the worker stops what is running."""
        from deploy_manager.deployments.ending import cancel

        deployment = self._find(request, pk)
        if not may(request.user, right_to(deployment.recipe), deployment.environment):
            raise PermissionDenied
        if cancel(deployment, str(request.user)):
            self.log_change(request, deployment, gettext("Cancellation requested."))
        else:
            self.message_user(request, gettext("It had already ended."), messages.WARNING)
        return HttpResponseRedirect(deployment_url(pk))

    @method_decorator(require_POST)
    def retry_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.deployments.retrying import retry_view

        return retry_view(self, request, self._find(request, pk))

    @method_decorator(require_POST)
    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        from deploy_manager.admin.deployments.approving import approve_view

        return approve_view(self, request, self._find(request, pk))

    @method_decorator(require_GET)
    def notes_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the commits that it brought, as Markdown."""
        from deploy_manager.deployments.notes import notes_of

        text = notes_of(self._find(request, pk)).as_markdown()
        # As plain text: a browser shows it, and runs nothing that stands in it.
        return HttpResponse(text.encode(errors="replace"), content_type="text/plain; charset=utf-8")

    @method_decorator(require_GET)
    def log_view(self, request: HttpRequest, pk: int) -> StreamingHttpResponse:
        """Return the whole log as a file, or that of the server whose run is `host`."""
        from deploy_manager.deployments.progress import log_of, whole_log

        deployment = self._find(request, pk)
        if not may(request.user, Right.VIEW_LOG, deployment.environment):
            raise PermissionDenied
        name, content = f"deployment-{pk}", whole_log(deployment)
        if host := request.GET.get("host"):
            if (host_pk := read_id(host)) is None:
                raise Http404
            run = get_object_or_404(deployment.host_runs, pk=host_pk)
            name, content = f"{name}-{run.server_name}", log_of(run)
        return stream_download(content, f"{name}.log")

    @method_decorator(require_GET)
    def search_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the lines of the log that contain a text."""
        from deploy_manager.admin.deployments.log_search import make_context

        deployment = self._find(request, pk)
        if not may(request.user, Right.VIEW_LOG, deployment.environment):
            raise PermissionDenied
        return self.render_page(
            request,
            "admin/deploy_manager/deployment/log_search.html",
            gettext("Search the log of %(deployment)s") % {"deployment": deployment},
            original=deployment,
            **make_context(request, deployment),
        )

    def _find(self, request: HttpRequest, pk: int) -> Deployment:
        """Return a deployment that the user may see. Raises Http404."""
        found = Deployment.objects.select_related(
            "environment__project",
            "release__lock",
            "retry_of",
            "schedule",
            "plan",
            "promotes__environment__project",
        )
        return get_object_or_404(visible(request, found), pk=pk)
