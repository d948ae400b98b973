"""The page that visitors see while a site is under maintenance.

The flag is the file `maintenance/on`. gunicorn's launcher checks it at each request; a web server
needs configuration to do so, and serves `maintenance/index.html` with status 503.
"""

import shlex

from django.utils.translation import gettext_noop

from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import ship

PAGE = "maintenance.html"


@recipe(gettext_noop("Turn the maintenance page on"), uses=Uses.CURRENT)
def maintenance_up(host: Host, site: Site) -> None:
    """Show the maintenance.html of the current code if it has one, else the built-in page."""
    folder = _folder(site)
    page, flag = f"{folder}/index.html", f"{folder}/on"
    # Copied beside and renamed: the page is complete at any time.
    beside, path = shlex.quote(f"{page}.part"), shlex.quote(page)
    host.run(
        f"mkdir -p {shlex.quote(folder)} || exit; for page in {shlex.join(_pages(host, site))};"
        f' do [ -f "$page" ] && break; done; cp -- "$page" {beside} && chmod 644 {beside}'
        f" && mv -f {beside} {path} && : > {shlex.quote(flag)}"
    )
    host.say("Visitors now see the maintenance page.")


@recipe(gettext_noop("Turn the maintenance page off"), uses=Uses.CURRENT)
def maintenance_down(host: Host, site: Site) -> None:
    """Show the site again."""
    host.run(["rm", "-f", f"{_folder(site)}/on"])
    host.say("Visitors now see the site.")


def _folder(site: Site) -> str:
    return f"{site.deploy_path}/maintenance"


def _pages(host: Host, site: Site) -> list[str]:
    """Return where the page may be, best first; the last path always exists."""
    top = f"{site.current_path}/{PAGE}"
    own = [f"{site.current_path}/{site.folder}/{PAGE}", top] if site.folder else [top]
    return [*own, ship(host, site, PAGE)]
