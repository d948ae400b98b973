"""Activating a release, and removing old ones."""

import shlex

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.links import point
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import run_shipped
from deploy_manager.recipes.static_files import remove_static_files, show_static_files


@recipe(_("Activate the release"), uses=Uses.NEWEST)
def activate(host: Host, site: Site) -> None:
    """Point `current` at the release by one rename, if it is complete.

    Its static files come first: what serves them may be asked at once.
    """
    release = site.require_release()
    _require_complete(host, site, release)
    show_static_files(host, site)
    point(host, site.current_path, f"releases/{release}")


@recipe(_("Check the release"), uses=Uses.GIVEN)
def check_release(host: Host, site: Site) -> None:
    """Fail if the release is not complete on this server, before anything is changed."""
    _require_complete(host, site, site.require_release())


def _require_complete(host: Host, site: Site, release: str) -> None:
    for part, name in ((site.release_path, "code"), (f"{site.release_path}/venv", "environment")):
        if not host.run(["test", "-e", f"{part}/.complete"], check=False, quiet=True).ok:
            raise RecipeError(
                _(
                    "The %(part)s of release %(release)s is not complete on this server. Choose "
                    "a complete one: %(known)s."
                ),
                part=name,
                release=release,
                known=_complete_releases(host, site),
            )


def _complete_releases(host: Host, site: Site) -> str:
    """Return the names of the releases that could be activated, for a message."""
    found = host.run(
        f"cd {shlex.quote(site.releases_path)} && for name in *; do"
        ' [ -e "$name/.complete" ] && [ -e "$name/venv/.complete" ] && echo "$name"; done',
        check=False,
        quiet=True,
    )
    return ", ".join(found.stdout.split()) or "none"


@recipe(_("Clean up old releases"))
def clean_up(host: Host, site: Site) -> None:
    """Keep the newest complete releases, the current one, and the environments they need."""
    facts = {
        "deploy_path": site.deploy_path,
        "number": site.keep_releases,
        "keep": sorted(site.keep | ({site.release} - {""})),
    }
    run_shipped(host, site, "clean_up.py", facts)
    remove_static_files(host, site)
