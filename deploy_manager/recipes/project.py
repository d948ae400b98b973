"""Recipes that run the Django project's own management commands."""

import shlex

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Scope, Uses, recipe

_WITHOUT_STATIC_FILES = (
    "Unknown command: 'collectstatic'",
    "without having set the STATIC_ROOT setting",
)


@recipe(_("Collect static files"), uses=Uses.NEWEST)
def collect_static(host: Host, site: Site) -> None:
    """Run collectstatic; a project without STATIC_ROOT is skipped with a note."""
    site.require_release()
    result = host.run(site.manage("collectstatic", "--noinput"), check=False)
    if result.ok:
        return
    if any(words in result.stderr for words in _WITHOUT_STATIC_FILES):
        host.say("No static files were collected: the project has no STATIC_ROOT.")
        return
    raise CommandFailed(
        _("collectstatic failed:\n%(stderr)s"),
        exit_code=result.exit_code,
        stderr=result.stderr[-1000:],
    )


@recipe(_("Compile translations"), uses=Uses.NEWEST, option="compile_messages")
def compile_messages(host: Host, site: Site) -> None:
    """Run compilemessages, which needs GNU gettext on the server."""
    site.require_release()
    host.run(site.manage("compilemessages"))


@recipe(_("Check the project"), uses=Uses.NEWEST)
def check(host: Host, site: Site) -> None:
    """Run Django's system checks with the release's own code, pins and variables."""
    site.require_release()
    host.run(site.manage("check"))


@recipe(_("Run the smoke command"), uses=Uses.NEWEST)
def smoke(host: Host, site: Site) -> None:
    """Run the project's smoke command in the release, before anything serves it."""
    site.require_release()
    if not site.smoke_command:
        host.say("No smoke command is set: nothing was run.")
        return
    exports = f"export PYTHON={shlex.quote(site.python_path)}; "
    host.run(site.in_release("sh", "-c", exports + site.smoke_command))


@recipe(_("Show the planned migrations"), scope=Scope.ONCE, uses=Uses.NEWEST)
def show_migrations(host: Host, site: Site) -> None:
    """Show the migrations that would be applied; nothing is changed."""
    site.require_release()
    host.run(site.manage("migrate", "--plan"))


@recipe(_("Migrate the database"), scope=Scope.ONCE, uses=Uses.NEWEST)
def migrate(host: Host, site: Site) -> None:
    """Show the planned migrations and apply them, once for the whole environment."""
    show_migrations(host, site)
    host.run(site.manage("migrate", "--noinput"))
