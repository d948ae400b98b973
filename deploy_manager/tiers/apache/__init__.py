"""Apache: runs a site as mod_wsgi, or passes requests on to its processes; static files."""

import re
from collections.abc import Mapping

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.kinds import NUMBER, Facts, Option
from deploy_manager.tiers.web import WEB_OPTIONS, WebServer, host_pattern, in_bytes


class Apache(WebServer):
    name = "apache"
    title = _("Apache: mod_wsgi, or a proxy; static files")
    packages = ("apache2", "libapache2-mod-wsgi-py3")
    modules = (
        *("rewrite", "headers", "alias", "deflate", "ssl", "http2", "wsgi"),
        *("proxy", "proxy_http", "proxy_wstunnel", "proxy_balancer", "lbmethod_byrequests"),
    )
    stopped = ("apache2.service",)
    removed = ("/etc/apache2/sites-enabled/000-default.conf",)
    commented: Mapping[str, str] = {"/etc/apache2/ports.conf": r"\s*Listen\s"}
    runs_sites = True
    folder = "/etc/apache2/sites-enabled"
    test = ("apache2ctl", "-t")
    unit = "apache2.service"
    options = {
        **WEB_OPTIONS,
        "threads": Option("8", NUMBER, _("Of each process of mod_wsgi.")),
    }

    def more(self, facts: Facts) -> Mapping[str, object]:
        return {
            "host_pattern": host_pattern(facts.names),
            "max_body": in_bytes(facts.options["max_body"]),
            "listens": [
                (re.sub(r"\W", "_", f"{each.host}_{each.port}".replace("*", "all")), each)
                for each in facts.listen
            ],
            "members": [_member(each) for each in facts.backends],
        }


def _member(backend: str) -> str:
    """Return a backend as a balancer names it."""
    if backend.startswith("unix:"):
        return f"{backend}|http://localhost"
    return f"http://{backend}"


KIND = Apache()
