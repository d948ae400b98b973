"""Caddy: serves static files, and passes requests on to the site's processes."""

import re
from collections.abc import Mapping
from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.kinds import Configuration, Facts, File
from deploy_manager.tiers.web import WEB_OPTIONS, WebServer, in_bytes


class Caddy(WebServer):
    name = "caddy"
    title = _("Caddy: static files, balancing")
    packages = ("caddy",)
    stopped = ("caddy.service",)
    template = "site.caddyfile"
    folder = "/etc/caddy/deploy_manager"
    suffix = ".caddyfile"
    test = ("caddy", "validate", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile")
    unit = "caddy.service"
    options = WEB_OPTIONS

    def more(self, facts: Facts) -> Mapping[str, object]:
        return {
            "max_body": in_bytes(facts.options["max_body"]),
            "upstreams": [each.replace("unix:", "unix/", 1) for each in facts.backends],
        }

    def _configuration(self, facts: Facts) -> Configuration:
        found = super()._configuration(facts)
        # Sites that listen alike have this file in common.
        refusing = tuple(
            File(
                f"{self.folder}/listen-{re.sub(r'[^A-Za-z0-9.]', '_', str(each))}{self.suffix}",
                self.text("listen.caddyfile", facts, each=each),
            )
            for each in facts.listen
        )
        return replace(found, files=(*found.files, *refusing))


KIND = Caddy()
