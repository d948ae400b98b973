"""The page that searches a deployment's log."""

from typing import Any

from django.http import Http404, HttpRequest

from deploy_manager.admin.addresses import read_id
from deploy_manager.admin.deployments.ansi import to_html
from deploy_manager.deployments.log_search import search_log
from deploy_manager.deployments.retention import why_no_log
from deploy_manager.models import Deployment

LONGEST = 200
"""Characters of the text that is searched for."""


def make_context(request: HttpRequest, deployment: Deployment) -> dict[str, Any]:
    """Return what the page shows. Raises Http404 for a server that has no part in it."""
    text = request.GET.get("q", "")[:LONGEST]
    runs = list(deployment.host_runs.order_by("pk").only("pk", "server_name"))
    host = None
    if sent := request.GET.get("host"):
        host = read_id(sent)
        if host not in {run.pk for run in runs}:
            raise Http404
    found = search_log(deployment, text, host)
    return {
        "asked": text,
        "host": host,
        "runs": runs,
        "why_no_log": why_no_log(deployment),
        "more": found.more,
        "lines": [
            {"server": each.run.server_name, "number": each.number, "html": to_html(each.data)}
            for each in found.lines
        ],
    }
