"""Verifying that the current release serves, by HTTP from its own server."""

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped

MARGIN_SECONDS = 30
"""Beyond the script's own deadline: so it is the script that gives up, with the last answer."""


@recipe(gettext_noop("Verify"), uses=Uses.CURRENT)
def verify(host: Host, site: Site) -> None:
    """Request the health check's URL from the server itself until it passes, or its deadline.

    The maintenance page is bypassed. With gunicorn, the answer also has to come from the current
    release. Redirects are not followed. Raises CommandFailed.
    """
    health = site.health
    if not health.url:
        host.say("No health check is set: nothing was verified.")
        return
    facts = {
        "url": health.url,
        "status": health.status,
        "text": health.text,
        "host_header": health.host_header,
        "deadline": health.deadline,
        "deploy_path": site.deploy_path,
        "gunicorn": site.reload.method == "gunicorn",
    }
    try:
        run_shipped(host, site, "verify.py", facts, timeout=health.deadline + MARGIN_SECONDS)
    except CommandFailed:
        if site.reload.method == "gunicorn":  # whose log usually has the reason
            host.run(["tail", "-n", "40", f"{site.tools_path}/gunicorn.log"], check=False)
        raise
