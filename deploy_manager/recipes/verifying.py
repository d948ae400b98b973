"""Verifying that the current release serves: by HTTP from its own server, and by its processes."""

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped
from deploy_manager.recipes.tracebacks import show_traceback

SUPERVISORS = ("systemd", "systemd-user", "supervisor")
"""The ways to serve whose supervisor says which processes they have."""

SETTLED_SECONDS = 2.0
"""For so long what is supervised has to run without a restart."""

GRACE_SECONDS = 30
"""Beyond the health check's deadline: processes of the old release may finish their requests."""

MARGIN_SECONDS = 30
"""Beyond the script's own deadline: so it is the script that gives up, with the last answer."""


@recipe(gettext_noop("Verify"), uses=Uses.CURRENT)
def verify(host: Host, site: Site) -> None:
    """Prove that the current release serves: by the health check, then by what is supervised.

    Raises CommandFailed.
    """
    is_supervised = site.reload.method in SUPERVISORS
    if site.health.url:
        _check_health(host, site)
    elif not is_supervised:
        host.say("No health check is set: nothing was verified.")
    if is_supervised:
        _check_processes(host, site)


def _check_health(host: Host, site: Site) -> None:
    """Request the health check's URL from the server itself until it passes, or its deadline.

    The maintenance page is bypassed. With gunicorn, the answer also has to come from the current
    release. Redirects are not followed.
    """
    health = site.health
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
    except CommandFailed as error:
        show_traceback(host, site, error)
        if site.reload.method == "gunicorn":  # whose log usually has the reason
            host.run(["tail", "-n", "40", f"{site.tools_path}/gunicorn.log"], check=False)
        raise


def _check_processes(host: Host, site: Site) -> None:
    """See that what a supervisor runs stays up, and that each process is of the current release.

    A site may answer well while an old process still holds its address.
    """
    deadline = site.health.deadline + GRACE_SECONDS
    facts = {
        "supervisor": site.reload.method,
        "target": site.reload.target.strip(),
        "deploy_path": site.deploy_path,
        "deadline": deadline,
        "settled": SETTLED_SECONDS,
    }
    run_shipped(host, site, "supervised.py", facts, timeout=deadline + MARGIN_SECONDS)
