"""Telling a site's server process to serve what `current` points at."""

import shlex
from collections.abc import Callable
from dataclasses import replace

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.gunicorn import reload_gunicorn
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe


@recipe(gettext_noop("Reload"), uses=Uses.CURRENT)
def reload(host: Host, site: Site) -> None:
    """Have the current release served, by the way that the environment names."""
    method = METHODS.get(site.reload.method)
    if method is None:
        known = ", ".join(METHODS)
        raise RecipeError(f"There is no way to reload named {site.reload.method!r}: {known}.")
    method(host, replace(site, release=""))


def touch_wsgi_file(host: Host, site: Site) -> None:
    """Touch the WSGI file: mod_wsgi then starts its processes anew."""
    path = f"{site.code_path}/{_target(site, 'the WSGI file, like config/wsgi.py')}"
    if not host.run(["test", "-f", path], check=False, quiet=True).ok:
        raise RecipeError(f"There is no WSGI file {path} to touch: mend what is to be reloaded.")
    host.run(f'touch -- "$(readlink -f -- {shlex.quote(path)})"')


def reload_system_unit(host: Host, site: Site) -> None:
    """Reload a unit of the system; by sudo that asks no password, unless we are root."""
    unit = shlex.quote(_target(site, "the systemd unit"))
    host.run(
        'if [ "$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi;'
        f" $as_root systemctl reload-or-restart {unit}"
    )


def reload_user_unit(host: Host, site: Site) -> None:
    """Reload a unit of the account itself, whose systemd is found by XDG_RUNTIME_DIR."""
    unit = shlex.quote(_target(site, "the systemd unit"))
    host.run(
        'XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"'
        f" systemctl --user reload-or-restart {unit}"
    )


def restart_program(host: Host, site: Site) -> None:
    """Restart a program of supervisor."""
    host.run(["supervisorctl", "restart", _target(site, "the supervisor program")])


def run_command(host: Host, site: Site) -> None:
    """Run the environment's own line for sh in the current code, with the site's variables set."""
    line = _target(site, "the command")
    host.run(f"{site.enter_release()} && {{ {line}\n}}")


def reload_nothing(host: Host, site: Site) -> None:
    """Say so."""
    host.say("There is nothing to reload.")


METHODS: dict[str, Callable[[Host, Site], None]] = {
    "touch": touch_wsgi_file,
    "gunicorn": reload_gunicorn,
    "systemd": reload_system_unit,
    "systemd-user": reload_user_unit,
    "supervisor": restart_program,
    "command": run_command,
    "none": reload_nothing,
}


def _target(site: Site, what: str) -> str:
    """Return what is to be reloaded; raises RecipeError for a blank one or an option."""
    target = site.reload.target.strip()
    if not target or target.startswith("-"):
        raise RecipeError(f"Name {what} in what the environment is to reload, not {target!r}.")
    return target
