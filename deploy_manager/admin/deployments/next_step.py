"""What a deployment's page offers next: after a preview, what it was the preview of."""

from django.utils.translation import gettext

from deploy_manager.admin.addresses import run_url
from deploy_manager.exceptions import UnknownRecipe
from deploy_manager.models import Deployment
from deploy_manager.recipes import get_pipeline


def next_step(deployment: Deployment) -> dict[str, str]:
    """Return the address and the title of what a preview leads to, for the same servers."""
    try:
        recipes = get_pipeline(deployment.recipe).recipes
        if len(recipes) != 1 or not recipes[0].leads_to:
            return {}
        following = get_pipeline(recipes[0].leads_to)
    except UnknownRecipe:
        return {}
    servers = list(deployment.host_runs.order_by("pk").values_list("server_name", flat=True))
    address = run_url(following.name, [deployment.environment_id], servers)
    return {"next_url": address, "next_title": gettext(following.title)}
