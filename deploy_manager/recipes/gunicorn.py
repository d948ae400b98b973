"""gunicorn as a site's server process: a script on the server starts or replaces it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.shipping import run_shipped, ship


def reload_gunicorn(host: Host, site: Site) -> None:
    """Serve the current release without losing a request; starts gunicorn if it is not running.

    Raises CommandFailed with the end of gunicorn's log; the old release, if any, goes on serving.
    """
    if not site.reload.bind:
        raise RecipeError(
            _(
                "No address for gunicorn is set: enter one in the environment, like 127.0.0.1:8001"
                " or unix:/path."
            )
        )
    facts = {
        "deploy_path": site.deploy_path,
        "launcher": ship(host, site, "serve.py"),
        "folder": site.folder,
        "settings": site.settings_module,
        "wsgi": site.reload.wsgi,
        "workers": site.reload.workers,
        "bind": site.reload.bind,
    }
    run_shipped(host, site, "gunicorn_control.py", facts)


@contextmanager
def without_gunicorn(host: Host, site: Site) -> Iterator[None]:
    """End the gunicorn that we started here, if any: the site is served in another way by now.

    It would hold the address, and answer from the old release. If the other way is refused, it is
    started again, with the release that is current. Raises CommandFailed.
    """
    pid_file = f"{site.tools_path}/gunicorn.pid"
    if not host.run(["test", "-e", pid_file], check=False, quiet=True, assume=1).ok:
        yield
        return
    facts = {"deploy_path": site.deploy_path, "stop": True}
    run_shipped(host, site, "gunicorn_control.py", facts)
    try:
        yield
    except RecipeError:
        host.say("The site is not served in that way yet: gunicorn is started again.")
        facts = {"deploy_path": site.deploy_path, "again": True}
        run_shipped(host, site, "gunicorn_control.py", facts)
        raise
