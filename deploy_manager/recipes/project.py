"""Recipes that run the Django project's own management commands."""

import posixpath
import shlex

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.in_project import PARTS, Part, run_part
from deploy_manager.recipes.registry import Scope, Uses, recipe
from deploy_manager.recipes.shipping import said_by

_DEPTH = 4
"""Folders below the top of a release in which SQLite files are looked for."""

_MISSING = 'for path; do [ -e "$0/$path" ] || printf "%s\\n" "$path"; done'
"""For sh: prints those of the paths that a folder does not have."""


@recipe(_("Build"), uses=Uses.NEWEST)
def build(host: Host, site: Site) -> None:
    """Run the build commands of the repository and of the environment in the release, in order."""
    site.require_release()
    if not site.build_commands:
        host.say("There is nothing to build: neither the repository nor the environment says so.")
        return
    for command in site.build_commands:
        host.run(site.in_release("sh", "-c", _build_exports(site) + command))


def _build_exports(site: Site) -> str:
    """Return a line of sh that sets the variables of a build, and ends with a newline.

    Caches that the site's variables or the account name stay where they are.
    """
    programs = shlex.quote(posixpath.dirname(site.python_path))
    return (
        f'deploy_cache={shlex.quote(site.cache_path)}; mkdir -p -- "$deploy_cache";'
        f' export PYTHON={shlex.quote(site.python_path)} PATH={programs}:"$PATH"'
        ' XDG_CACHE_HOME="${XDG_CACHE_HOME:-$deploy_cache}"'
        ' npm_config_cache="${npm_config_cache:-$deploy_cache/npm}"\n'
    )


@recipe(_("Compile translations"), uses=Uses.NEWEST, option="compile_messages")
def compile_messages(host: Host, site: Site) -> None:
    """Run compilemessages, which needs GNU gettext on the server."""
    site.require_release()
    host.run(site.manage("compilemessages"))


@recipe(_("Check the project"), uses=Uses.NEWEST)
def check(host: Host, site: Site) -> None:
    """Run Django's system checks with the release's own code, pins and variables.

    Then its settings are asked where the site's data is. Raises CommandFailed if that would be
    removed with the release.
    """
    site.require_release()
    _warn_of_databases(host, site)
    result = run_part(host, site, "check")
    for line in (result.stdout + result.stderr).splitlines():
        host.say(line)
    if not result.ok:
        raise CommandFailed(said_by(result), result.exit_code)


def _facts_of_check(site: Site) -> dict[str, object]:
    return {
        "deploy_path": site.deploy_path,
        "release": site.release_path,
        "migrates": site.migrates,
        "databases": site.migrate_databases,
        "lock_timeout": site.lock_timeout,
    }


PARTS["check"] = Part("check_project.py", _facts_of_check)


def _warn_of_databases(host: Host, site: Site) -> None:
    """Name the SQLite files in the release that serves which the new one does not have."""
    # Links are not followed: what is in a shared folder stays.
    result = host.run(
        f"cd {shlex.quote(site.current_path)}/ 2>/dev/null"
        f" && find . -maxdepth {_DEPTH} -name '*.sqlite3' -type f"
        f" -exec sh -c {shlex.quote(_MISSING)} {shlex.quote(site.release_path)} {{}} +",
        check=False,
        quiet=True,
        assume=0,
    )
    for path in result.stdout.splitlines():
        host.say(
            f"The release that serves has {path.removeprefix('./')}, and the new one will not: its"
            " data stays behind, and is removed with the old release. Keep it outside the code, or"
            " in a shared folder."
        )


@recipe(_("Run the smoke command"), uses=Uses.NEWEST, option="smoke_command")
def smoke(host: Host, site: Site) -> None:
    """Run the project's smoke command in the release, before anything serves it."""
    site.require_release()
    if not site.smoke_command:
        host.say("No smoke command is set: nothing was run.")
        return
    exports = f"export PYTHON={shlex.quote(site.python_path)}; "
    host.run(site.in_release("sh", "-c", exports + site.smoke_command))


@recipe(_("Run a management command"), scope=Scope.ONCE)
def manage_site(host: Host, site: Site) -> None:
    """Run the command that the request brought, in the release that serves. It has no terminal."""
    if not site.arguments:
        raise RecipeError(
            _("Name a command: manage.py manage_site %(site)s -- clearsessions"),
            site=site.environment,
        )
    host.run(site.manage(*site.arguments))
