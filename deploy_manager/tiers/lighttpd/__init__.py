"""lighttpd: serves static files, and passes requests on to the site's processes."""

from collections.abc import Mapping
from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.kinds import Facts
from deploy_manager.tiers.listening import Listen
from deploy_manager.tiers.web import WEB_OPTIONS, WebServer, host_pattern, in_bytes


class Lighttpd(WebServer):
    name = "lighttpd"
    title = _("lighttpd: static files, balancing")
    packages = ("lighttpd", "lighttpd-mod-deflate", "lighttpd-mod-openssl")
    stopped = ("lighttpd.service",)
    removed = ("/etc/lighttpd/conf-enabled/99-unconfigured.conf",)
    # It listens on every address of IP version 6, whatever else is said.
    commented: Mapping[str, str] = {"/etc/lighttpd/lighttpd.conf": 'include_shell ".*use-ipv6'}
    folder = "/etc/lighttpd/conf-enabled"
    test = ("lighttpd", "-tt", "-f", "/etc/lighttpd/lighttpd.conf")
    unit = "lighttpd.service"
    # When it reloads it is root no more: it may not read a key, nor listen on port 443.
    restarts = True
    options = WEB_OPTIONS

    def more(self, facts: Facts) -> Mapping[str, object]:
        sockets = [_socket(each) for each in facts.listen]
        return {
            "host_pattern": host_pattern(facts.names),
            "main": sockets[0],
            "sockets": sockets,
            # In kilobytes; of 0 there is no limit.
            "max_body": -(-in_bytes(facts.options["max_body"]) // 1024),
            "members": [_member(each) for each in facts.backends],
        }


def _socket(listen: Listen) -> Listen:
    return replace(listen, host="0.0.0.0") if listen.is_everywhere else listen  # noqa: S104


def _member(backend: str) -> tuple[str, str]:
    """Return host and port of a backend; blank port: a socket file."""
    if backend.startswith("unix:"):
        return backend.removeprefix("unix:"), ""
    host, _colon, port = backend.rpartition(":")
    return host.strip("[]"), port


KIND = Lighttpd()
