"""Whether a server is fit for a site, asked before anything is sent to it."""

import time

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped

FREE_BYTES = 1024**3
"""Needed at least; for a large archive, what it takes packed and unpacked."""

CLOCK_SECONDS = 30


@recipe(gettext_noop("Look whether the server is fit"), uses=Uses.CURRENT)
def preflight(host: Host, site: Site) -> None:
    """Look at Python, disk, permissions, clock and port; tell of all that is amiss at once."""
    facts = {
        "deploy_path": site.deploy_path,
        "bind": site.reload.bind if site.reload.method == "gunicorn" else "",
        "free_bytes": max(FREE_BYTES, 2 * _archive_bytes(site)),
        # Fed as input: the command itself stays the same whenever it is asked for.
        "time": int(time.time()),
        "clock_seconds": CLOCK_SECONDS,
    }
    try:
        run_shipped(host, site, "preflight.py", facts)
    except CommandFailed as error:
        raise CommandFailed(f"{host.name} is not fit:\n{error}", error.exit_code) from None


def _archive_bytes(site: Site) -> int:
    return site.archive.stat().st_size if site.archive else 0
