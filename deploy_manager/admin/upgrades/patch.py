"""What an upgrade installed on an environment, to download as a patch for its repository."""

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from deploy_manager.admin.permissions import may_see
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.models import UpgradeStage
from deploy_manager.runner.upgrades.handing_back import patch_of

URL_NAME = "deploy_manager_upgradestage_patch"


def patch_view(request: HttpRequest, stage_pk: int) -> HttpResponse:
    """Send a stage's patch, or say in plain text why there is none."""
    stages = UpgradeStage.objects.select_related(
        "upgrade", "environment__project", "release_before", "lock_after", "deployment__release"
    )
    stage = stages.filter(pk=stage_pk).first()
    if stage is None or not may_see(request.user, stage.environment):
        raise Http404(_("There is no such upgrade."))
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


def patch_url(stage: UpgradeStage) -> str:
    return reverse(f"admin:{URL_NAME}", args=[stage.pk])
