"""Whether the current release really serves: what its server sees over HTTP."""

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped

MARGIN_SECONDS = 30


@recipe(gettext_noop("Verify"), uses=Uses.CURRENT)
def verify(host: Host, site: Site) -> None:
    """Ask the health check's URL from the server itself until it answers well, or its deadline.

    A site in maintenance is looked at behind its page. gunicorn also has to tell that the answer
    comes from the current release. Redirects are not followed. Raises CommandFailed.
    """
    health = site.health
    if not health.url:
        host.say("No health check is set: nothing was asked.")
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
        _show_why(host, site)
        raise


def _show_why(host: Host, site: Site) -> None:
    """What the site's own process logged is the first thing one looks for."""
    if site.reload.method == "gunicorn":
        host.run(["tail", "-n", "40", f"{site.tools_path}/gunicorn.log"], check=False)
