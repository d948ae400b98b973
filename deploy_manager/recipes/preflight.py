"""Preflight checks: whether a server is ready for a site, before anything is deployed to it."""

import time

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped

FREE_BYTES = 1024**3
"""The minimum; a large archive needs room for itself and its content."""

CLOCK_SECONDS = 30


@recipe(_("Check the server"), uses=Uses.CURRENT)
def preflight(host: Host, site: Site) -> None:
    """Check Python, disk, permissions, clock and port; report all problems at once."""
    facts = {
        "deploy_path": site.deploy_path,
        "bind": site.reload.bind if site.reload.method == "gunicorn" else "",
        "free_bytes": max(FREE_BYTES, 2 * site.archive.stat().st_size if site.archive else 0),
        # On stdin: the command line must not change, or a replay would not recognise it.
        "time": int(time.time()),
        "clock_seconds": CLOCK_SECONDS,
    }
    try:
        run_shipped(host, site, "preflight.py", facts)
    except CommandFailed as error:
        raise CommandFailed(
            _("%(name)s is not ready for the site:\n%(error)s"),
            exit_code=error.exit_code,
            name=host.name,
            error=error,
        ) from None
