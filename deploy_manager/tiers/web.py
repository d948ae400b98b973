"""Web servers before a site: what nginx, lighttpd, Apache and Caddy have in common."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.kinds import NUMBER, Configuration, Facts, File, Kind, Option, Proof

PROOF_PATH = "/.well-known/deploy-tier"
"""Answered by the web server itself, with the digest of its configuration in PROOF_HEADER."""

PROOF_HEADER = "X-Deploy-Tier"
DIGEST_CHARACTERS = 16

YES_OR_NO = r"yes|no"
SIZE = r"[0-9]{1,5}[kKmMgG]?"
URL_FOLDER = r"/[A-Za-z0-9_.~/-]*/|"
PATH = r"(?:/[A-Za-z0-9_.+@~-]+)+|"


WEB_OPTIONS: Mapping[str, Option] = {
    "static_url": Option("/static/", URL_FOLDER, _("Path of static files. Blank: not served.")),
    "media_url": Option("", URL_FOLDER, _("Path of uploads. Blank: not served.")),
    "media_folder": Option("media", r"[A-Za-z0-9_][A-Za-z0-9_./-]*", _("Their folder in shared.")),
    "max_body": Option("10m", SIZE, _("The largest request, as an upload is.")),
    "timeout": Option("60", NUMBER, _("Seconds that the site may take to answer.")),
    "redirect": Option("yes", YES_OR_NO, _("Whether http is redirected to https.")),
    "balance": Option("no", YES_OR_NO, _("Whether each server passes requests on to all of them.")),
    "acme": Option(
        "/var/www/acme", PATH, _("The web root of certbot, as in certbot certonly --webroot -w.")
    ),
}
"""Options of every web server."""


class WebServer(Kind):
    """What nginx, lighttpd, Apache and Caddy have in common: one file for a site's host names."""

    is_web = True
    roles = ("proxy", "static", "web", "app")
    template = "site.conf"
    folder: str
    """Where the file lies."""

    suffix = ".conf"
    test: tuple[str, ...]
    unit: str
    restarts: bool = False

    def configure(self, facts: Facts) -> Configuration:
        is_secure = any(each.is_secure for each in facts.listen)
        plain = replace(facts, listen=tuple(each for each in facts.listen if not each.is_secure))
        complete = self._configuration(facts)
        if not is_secure:
            return complete
        # Before the first certificate there is only the port by which one is asked for.
        return replace(
            complete,
            certificate=facts.certificate,
            certificate_key=facts.certificate_key,
            without_certificate=self._configuration(plain) if plain.listen else None,
        )

    def _configuration(self, facts: Facts) -> Configuration:
        path = f"{self.folder}/{facts.label}{self.suffix}"
        digest = _digest_of(self._render(facts, ""))
        hosts = dict.fromkeys(name.replace("*", "any") for name in facts.names)
        return Configuration(
            files=(File(path, self._render(facts, digest)),),
            test=self.test,
            unit=self.unit,
            restarts=self.restarts,
            proofs=tuple(
                Proof(f"{each.scheme}://{each.reached_at}{PROOF_PATH}", host, digest)
                for each in facts.listen
                # Another file may have one of the names already: then its site is answered.
                for host in hosts
            ),
        )

    def _render(self, facts: Facts, digest: str) -> str:
        secure = [each for each in facts.listen if each.is_secure]
        plain = [each for each in facts.listen if not each.is_secure]
        redirects = bool(secure) and facts.options.get("redirect", "yes") == "yes"
        return self.text(
            self.template,
            facts,
            digest=digest,
            proof_path=PROOF_PATH,
            proof_header=PROOF_HEADER,
            plain=plain,
            redirects=redirects,
            served=secure if redirects else facts.listen,
            is_secure=bool(secure),
            secure_port=secure[0].port if secure else 0,
            maintenance=f"{facts.deploy_path}/maintenance",
            static=f"{facts.deploy_path}/static" if facts.has_code else "",
            media=_media_folder(facts),
            main_name=facts.names[0].replace("*", "any"),
            other_names=facts.names[1:] if "*" not in facts.names[0] else facts.names,
            **self.more(facts),
        )

    def more(self, facts: Facts) -> Mapping[str, object]:
        """Return what the kind's own template needs besides."""
        return {}


def host_pattern(names: Sequence[str]) -> str:
    """Return a regular expression of the Host headers that name the site, in lower case."""
    texts = [re.escape(name).replace(r"\*", "[a-z0-9.-]+").replace(r"\-", "-") for name in names]
    return f"^({'|'.join(texts)})(:[0-9]+)?$"


def in_bytes(size: str) -> int:
    """Return how many bytes a size like 10m is."""
    exponent = "kmg".find(size[-1].lower()) + 1
    return int(size.rstrip("kKmMgG")) * int(1024**exponent)


def _media_folder(facts: Facts) -> str:
    if not facts.options["media_url"] or not facts.has_code:
        return ""
    return f"{facts.deploy_path}/shared/{facts.options['media_folder']}"


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]
