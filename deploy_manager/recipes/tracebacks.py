"""Why a site answers with an error, which it tells nobody while DEBUG is off."""

import re
from dataclasses import replace
from urllib.parse import urlsplit

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.logs import mask_text
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.in_project import run_in_project

SHOWN_LINES = 40
SECONDS = 30.0


def show_traceback(host: Host, site: Site, error: CommandFailed) -> None:
    """Log the traceback of a health check that a server error has answered.

    The same request is made once more, in a process of its own: with the release, the settings and
    the variables of the site, but without its web server. Nothing is logged for other failures.
    """
    if not re.search(r"\bStatus 5\d\d\b", str(error)):
        return
    # After http://host:port or http://unix:/path: comes the path.
    through_file = re.match(r"http://unix:[^:]+:(/.*)", site.health.url)
    parts = urlsplit(site.health.url)
    path = through_file[1] if through_file else parts._replace(scheme="", netloc="").geturl() or "/"
    name = site.health.host_header or ("localhost" if through_file else parts.netloc)
    of_current = replace(site, release="")
    facts = {"path": path, "host": name}
    try:
        result = run_in_project(host, of_current, "request.py", facts, timeout=SECONDS)
    except RecipeError as why:
        host.say(f"Why could not be found out: {why}")
        return
    # Masked first: what is cut may be a secret.
    said = mask_text(result.stdout if result.ok else result.stderr)
    for line in said.splitlines()[-SHOWN_LINES:]:
        host.say(line)
