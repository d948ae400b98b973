"""The processes of a site: one program on the server starts, proves and ends them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.becoming_root import sudo_password
from deploy_manager.recipes.host import Host, Process, Result, Site
from deploy_manager.recipes.shipping import remote_package, run_program, shipped_name, zipped

PACKAGE = "deploy_manager_processes"
"""The name under which it is imported on servers: a site may have a module `processes`."""

MAIN = f"from {PACKAGE}.main import main\nmain()\n"

SUPERVISORS = ("systemd", "systemd-user", "supervisor")
"""The ways to serve whose supervisor says which processes they have."""

SETTLED_SECONDS = 2.0
"""For so long what is supervised has to run without a restart."""

USUAL_SECONDS = Process.stays_up
"""The same for what proves nothing else, like a line of a Procfile: see `Process.stays_up`."""

GRACE_SECONDS = 30
"""Beyond the health check's deadline: processes of the old release may finish their requests."""

MARGIN_SECONDS = 30
"""Beyond the program's own deadlines: so it is the program that gives up, with what it saw."""


def apply_processes(host: Host, site: Site) -> None:
    """Make the site's processes on this server run the current release; ends those not wanted.

    Raises CommandFailed with the end of a process's log. An old gunicorn goes on serving then.
    """
    run_processes(host, site, "apply")


def prove_processes(host: Host, site: Site) -> None:
    """Prove that the site answers, and that its processes run the current release.

    Raises CommandFailed with what was seen instead.
    """
    longest = max([0, *(process.stays_up for process in site.processes)])
    waits = site.health.deadline + GRACE_SECONDS + max(longest, USUAL_SECONDS)
    run_processes(host, site, "prove", timeout=site.health.deadline + waits + MARGIN_SECONDS)


def stop_processes(host: Host, site: Site) -> None:
    """End all that was started for the site on this server. Raises CommandFailed."""
    run_processes(host, site, "stop")


def serves_our_wsgi_file(site: Site) -> bool:
    """Whether what serves the site was pointed at our file, whose answers name their release."""
    return site.reload.method == "touch" and not site.reload.target.strip() and site.serves_web


@contextmanager
def without_our_web(host: Host, site: Site) -> Iterator[None]:
    """End what we serve the site with here, if anything: it is served in another way by now.

    It would hold the address, and answer from the old release. If the other way is refused, it is
    started again, with the release that is current. Raises CommandFailed.
    """
    known = ["test", "-e", f"{site.tools_path}/processes.json"]
    was_here = host.run(known, check=False, quiet=True, assume=1).ok
    # A site that nothing reloads needs nothing of ours, unless we have processes there.
    if was_here or site.processes or site.procfile or site.reload.method != "none":
        apply_processes(host, site)
    try:
        yield
    except RecipeError:
        if was_here:
            run_processes(host, site, "again")
        raise
    if was_here:  # so that a later failure does not bring back what has been replaced
        host.run(["rm", "-f", "--", f"{site.tools_path}/processes-before.json"], quiet=True)


def run_processes(host: Host, site: Site, action: str, timeout: float | None = None) -> Result:
    """Run our program on the server with the facts of a site. Raises CommandFailed."""
    content = processes_archive()
    name = shipped_name("processes.pyz", content)
    facts = facts_of(site, action)
    if password := sudo_password(site):
        facts["sudo"] = password  # which the program neither stores nor passes on
    return run_program(host, site, content, name, facts, timeout)


def facts_of(site: Site, action: str) -> dict[str, object]:
    """Return the input of the program; see remote/processes/main.py."""
    health = site.health
    is_theirs = site.reload.method in SUPERVISORS and site.serves_web
    return {
        "action": action,
        "environment": site.environment,
        "deploy_path": site.deploy_path,
        "release": site.release,  # blank: whatever is current
        "folder": site.folder,
        "settings": site.settings_module,
        "supervisor": site.supervisor,
        "at_boot": site.at_boot,
        "unit_prefix": site.unit_prefix,
        # What serves the web on this server, and whether that is ours.
        "serves": site.reload.method == "gunicorn" and site.serves_web,
        "serves_web": site.serves_web,
        "wsgi": site.reload.wsgi,
        "workers": site.reload.workers,
        "bind": site.reload.bind,
        "theirs": {
            "supervisor": site.reload.method if is_theirs else "",
            "target": site.reload.target.strip() if is_theirs else "",
            "is_named": serves_our_wsgi_file(site),
        },
        # Which processes it has, and where.
        "processes": [asdict(process) for process in site.processes],
        "elsewhere": sorted(site.processes_elsewhere),
        "web_elsewhere": site.web_elsewhere,
        "procfile": site.procfile,
        "roles": sorted(site.roles),
        "known_roles": sorted(site.known_roles),
        "first_in": sorted(site.first_in),
        "is_first": site.is_first,
        # How long to look at them.
        "health": {
            "url": health.url,
            "status": health.status,
            "text": health.text,
            "host_header": health.host_header,
            "deadline": health.deadline,
        },
        "deadline": health.deadline + GRACE_SECONDS,
        "settled": SETTLED_SECONDS,
    }


@cache
def processes_archive() -> bytes:
    """Return the program as one zip file that Python runs."""
    return zipped({**remote_package("processes", PACKAGE), "__main__.py": MAIN.encode()})
