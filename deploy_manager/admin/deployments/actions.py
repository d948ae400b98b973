"""One action for each pipeline and recipe, for those who may deploy something."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from deploy_manager.admin.addresses import run_url, start_url
from deploy_manager.admin.deployments.pipelines import is_startable
from deploy_manager.models import Environment
from deploy_manager.models.deployments import CONVERGE, DEPLOY, ROLLBACK
from deploy_manager.models.rights import may_deploy
from deploy_manager.recipes import Pipeline, all_pipelines

UPGRADE_ACTION = "upgrade_packages"
FIRST = (DEPLOY, ROLLBACK, CONVERGE)

Action = Callable[[Any, HttpRequest, QuerySet[Environment]], HttpResponse | None]


def run_actions() -> dict[str, tuple[Action, str, str]]:
    """The actions as `ModelAdmin.get_actions` returns them, those of the whole site first."""
    startable = [pipeline for pipeline in all_pipelines() if is_startable(pipeline)]
    pipelines = sorted(startable, key=lambda pipeline: pipeline.name not in FIRST)
    actions = {
        f"run_{pipeline.name}": (_action(pipeline), f"run_{pipeline.name}", _describe(pipeline))
        for pipeline in pipelines
    }
    return actions | {UPGRADE_ACTION: (_upgrade, UPGRADE_ACTION, _("Upgrade packages…"))}


def _upgrade(admin: Any, request: HttpRequest, queryset: QuerySet[Environment]) -> HttpResponse:
    """Lead to the page that asks which packages; there each environment has its turn."""
    chosen = queryset.order_by("project__name", "name").values_list("pk", flat=True)
    return HttpResponseRedirect(start_url(chosen))


def _describe(pipeline: Pipeline) -> str:
    """The title; the admin formats it with %, which a title must not stumble over."""
    title = _(pipeline.title).replace("%", "%%")
    return f"{title}…" if pipeline.name in FIRST[1:] else title


def _action(pipeline: Pipeline) -> Action:
    def show_plan(
        admin: Any, request: HttpRequest, queryset: QuerySet[Environment]
    ) -> HttpResponse | None:
        chosen = list(queryset.select_related("project").order_by("pk"))
        refused = [entry for entry in chosen if not may_deploy(request.user, entry)]
        if refused:
            names = ", ".join(map(str, refused))
            messages.error(request, _("You may not deploy %(names)s.") % {"names": names})
            return None
        return HttpResponseRedirect(run_url(pipeline.name, [entry.pk for entry in chosen]))

    return show_plan
