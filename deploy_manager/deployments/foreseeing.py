"""What would fail on the servers, and can be known before any of them is touched."""

from collections.abc import Collection, Sequence

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Environment, Step
from deploy_manager.packages.suitability import refuse_unsuitable
from deploy_manager.recipes.environments import make_virtualenv
from deploy_manager.recipes.serving import reload
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.programs import missing_programs


def needed_programs(environment: Environment, recipes: Collection[str]) -> dict[str, Message]:
    """Return the packages that run the site, if these recipes start them, and why."""
    if reload.__name__ not in recipes:
        return {}
    if environment.reload_method == Environment.ReloadMethod.GUNICORN:
        return {"gunicorn": Message(_("it serves the site"))}
    return {}


def refuse_what_would_fail(
    deployment: Deployment, digest: str, pins: Sequence[Pin]
) -> tuple[Message, ...]:
    """Return what could not be checked of a release's pins, for the log.

    `digest` is that of their lock. Raises PinError with everything that would fail on servers.
    """
    environment = deployment.environment
    steps = Step.objects.filter(host_run__deployment=deployment).order_by("recipe")
    recipes = set(steps.values_list("recipe", flat=True).distinct())
    if missing := missing_programs(pins, needed_programs(environment, recipes)):
        raise PinError(Message.lines(*missing))
    if make_virtualenv.__name__ not in recipes:
        return ()
    runs = deployment.host_runs.exclude(placement=None).order_by("pk")
    runs = runs.select_related("placement__server__gateway", "placement__environment")
    placements = [run.placement for run in runs if run.placement]
    return refuse_unsuitable(environment, digest, pins, placements)
