"""Reloading a site's server process, to serve the release that `current` points at."""

import shlex
from collections.abc import Callable
from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.becoming_root import as_root
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.processes import (
    apply_processes,
    serves_our_wsgi_file,
    stop_processes,
    without_our_web,
)
from deploy_manager.recipes.registry import Uses, recipe

PASSENGER_SECONDS = 11
"""After this, Passenger has noticed a touched file: it looks at most once in 10 seconds."""


@recipe(_("Reload"), uses=Uses.CURRENT)
def reload(host: Host, site: Site) -> None:
    """Make the site's processes run the current release; the web by the environment's method."""
    method = METHODS.get(site.reload.method)
    if method is None:
        known = ", ".join(METHODS)
        raise RecipeError(
            _("%(method)s is not a method to reload: choose one of %(known)s."),
            method=repr(site.reload.method),
            known=known,
        )
    # By `current`, whatever release the deployment is about: it is `current` that is served.
    of_current = replace(site, release="")
    if site.reload.method == "gunicorn":
        method(host, of_current)
        return
    with without_our_web(host, of_current):
        if site.serves_web:
            method(host, of_current)


def run_ours(host: Host, site: Site) -> None:
    """Start or replace the site's own processes; gunicorn without losing a request."""
    if site.serves_web and not site.reload.bind:
        raise RecipeError(
            _(
                "No address for gunicorn is set: enter one in the environment, like 127.0.0.1:8001"
                " or unix:/path."
            )
        )
    apply_processes(host, site)


@recipe(_("Stop the site's processes"), uses=Uses.CURRENT, name="stop_processes")
def stop(host: Host, site: Site) -> None:
    """End all that was started from here for the site, for good: before a server leaves it."""
    stop_processes(host, site)


def touch_wsgi_file(host: Host, site: Site) -> None:
    """Touch the WSGI file, which makes mod_wsgi restart its processes: the site's, or ours."""
    if serves_our_wsgi_file(site):
        return  # it was written just now
    path = f"{site.code_path}/{_target(site, 'the WSGI file, like config/wsgi.py')}"
    if not host.run(["test", "-f", path], check=False, quiet=True).ok:
        raise RecipeError(
            _("There is no WSGI file %(path)s to touch: correct it in the environment."), path=path
        )
    host.run(f'touch -- "$(readlink -f -- {shlex.quote(path)})"')


def restart_passenger(host: Host, site: Site) -> None:
    """Touch tmp/restart.txt beside manage.py; Passenger's next request then starts the new code.

    Waits until Passenger looks at the file again, so that `verify` is not answered by old code.
    """
    host.run(f"cd {shlex.quote(site.code_path)} && mkdir -p tmp && touch tmp/restart.txt")
    host.run(["sleep", str(PASSENGER_SECONDS)])


def reload_system_unit(host: Host, site: Site) -> None:
    """Reload a system unit; through sudo, unless we are root."""
    unit = shlex.quote(_target(site, "the systemd unit"))
    if site.sudo is not None:
        root = as_root(host, site)
        words = [*root.words, "systemctl", "reload-or-restart", _target(site, "the systemd unit")]
        host.run(words, stdin=root.stdin)
        return
    host.run(
        'if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi;'
        f" $as_root systemctl reload-or-restart {unit}"
    )


def reload_user_unit(host: Host, site: Site) -> None:
    """Reload a unit of the account's own systemd, which is found by XDG_RUNTIME_DIR."""
    unit = shlex.quote(_target(site, "the systemd unit"))
    host.run(
        'XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"'
        f" systemctl --user reload-or-restart {unit}"
    )


def restart_program(host: Host, site: Site) -> None:
    """Restart a program of supervisor."""
    host.run(["supervisorctl", "restart", _target(site, "the supervisor program")])


def run_command(host: Host, site: Site) -> None:
    """Run the environment's line of sh in the current code, with the site's variables."""
    line = _target(site, "the command")
    # The bracket is on a line of its own: the command may end with a comment.
    host.run(f"{site.enter_release()} && {{ {line}\n}}")


def reload_nothing(host: Host, site: Site) -> None:
    """Do nothing, and log it."""
    host.say("There is nothing to reload.")


METHODS: dict[str, Callable[[Host, Site], None]] = {
    "touch": touch_wsgi_file,
    "gunicorn": run_ours,
    "passenger": restart_passenger,
    "systemd": reload_system_unit,
    "systemd-user": reload_user_unit,
    "supervisor": restart_program,
    "command": run_command,
    "none": reload_nothing,
}


def _target(site: Site, what: str) -> str:
    """Return the target to reload; raises RecipeError if it is blank or looks like an option."""
    target = site.reload.target.strip()
    if not target or target.startswith("-"):
        raise RecipeError(
            _("%(target)s can't be reloaded: enter %(what)s in the environment."),
            target=repr(target),
            what=what,
        )
    return target
