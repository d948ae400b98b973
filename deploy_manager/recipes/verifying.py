"""Verifying that the current release serves: by HTTP from its own server, and by its processes."""

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.processes import SUPERVISORS, prove_processes
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.tracebacks import show_traceback


@recipe(gettext_noop("Verify"), uses=Uses.CURRENT)
def verify(host: Host, site: Site) -> None:
    """Prove that the current release serves: by the health check, then by its processes.

    Raises CommandFailed.
    """
    if not site.health.url and site.reload.method not in (*SUPERVISORS, "gunicorn"):
        host.say("No health check is set: only who listens at the site's address is looked at.")
    try:
        prove_processes(host, site)
    except CommandFailed as error:
        show_traceback(host, site, error)
        raise
