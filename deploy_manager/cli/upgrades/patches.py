"""Finding the environment of an upgrade whose pins are printed as a patch."""

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Upgrade, UpgradeStage
from deploy_manager.upgrades.handing_back import patchable


def find_stage(number: int, environment: str) -> UpgradeStage:
    """Return the stage of an upgrade on an environment; a blank name means the only one.

    Raises RequestRefused.
    """
    if not Upgrade.objects.filter(pk=number).exists():
        raise RequestRefused(f"There is no upgrade #{number}.")
    stages = list(patchable(UpgradeStage.objects.filter(upgrade=number)).order_by("number"))
    if not stages:
        raise RequestRefused(
            f"Upgrade #{number} has no patch: it succeeded on no environment that takes its pins"
            " from the repository."
        )
    found = [
        stage
        for stage in stages
        if environment in ("", stage.environment.name, str(stage.environment))
    ]
    if len(found) != 1:
        names = ", ".join(str(stage.environment) for stage in stages)
        raise RequestRefused(f"Choose an environment with --environment: {names}.")
    return found[0]
