"""What an upgrade installed on an environment, for its repository: as a patch or as a commit."""

import socket

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from deploy_manager.admin.permissions import may_see
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.models import UpgradeStage
from deploy_manager.models.rights import may_deploy
from deploy_manager.upgrades.handing_back import keep_as_commit, patch_of


def patch_view(request: HttpRequest, stage_pk: int) -> HttpResponse:
    """Send a stage's patch, or say in plain text why there is none."""
    stage = _find(request, stage_pk)
    try:
        patch = patch_of(stage)
    except DeployManagerError as error:
        return HttpResponse(f"{error}\n", content_type="text/plain; charset=utf-8", status=409)
    name = f"upgrade-{stage.upgrade_id}-{stage.environment.name}.patch"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
    }
    return HttpResponse(patch, content_type="text/x-patch", headers=headers)


@require_POST
def commit_view(request: HttpRequest, stage_pk: int) -> HttpResponse:
    """Keep a stage's pins as a commit in the mirror, and say how to fetch it."""
    stage = _find(request, stage_pk)
    if not may_deploy(request.user, stage.environment):
        raise PermissionDenied
    try:
        fetch = keep_as_commit(stage)
    except DeployManagerError as error:
        messages.error(request, str(error))
    else:
        text = _("The pins are committed on %(host)s. There, or by ssh:// from it: %(fetch)s")
        messages.success(request, text % {"host": socket.gethostname(), "fetch": fetch})
    return HttpResponseRedirect(
        reverse("admin:deploy_manager_upgrade_change", args=[stage.upgrade_id])
    )


def _find(request: HttpRequest, stage_pk: int) -> UpgradeStage:
    stages = UpgradeStage.objects.select_related(
        "upgrade", "environment__project", "release_before", "lock_after", "deployment__release"
    )
    stage = stages.filter(pk=stage_pk).first()
    if stage is None or not may_see(request.user, stage.environment):
        raise Http404(_("There is no such upgrade."))
    return stage
