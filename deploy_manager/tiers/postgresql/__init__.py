"""PostgreSQL: a database and a role of the site's own, which only its servers can reach."""

import re
from collections.abc import Mapping
from urllib.parse import quote

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.data import DataTier
from deploy_manager.tiers.kinds import WORD, Configuration, Facts, Option

EXTENSION = r"[a-z_][a-z0-9_-]{0,62}"
LONGEST_NAME = 63
"""Characters: PostgreSQL cuts longer names."""


class Postgresql(DataTier):
    name = "postgresql"
    title = _("PostgreSQL: a database and its role")
    roles = ("database", "db", "postgresql", "app")
    packages = ("postgresql",)
    # Its cluster listens on the loopback only, and serves whoever has used it before.
    stopped = ()
    usual_port = 5432
    variable = "DATABASE_URL"
    has_secret = True
    takes_lines = False
    options = {
        "database": Option("", f"{WORD}|", _("Its name. Blank: that of the site.")),
        "user": Option("", f"{WORD}|", _("The role that owns it. Blank: that of the site.")),
        "version": Option("", r"[0-9]{1,2}|", _("Of the cluster, like 15. Blank: the newest.")),
        "extensions": Option(
            "", rf"(?:{EXTENSION}(?:, ?{EXTENSION})*)?", _("Like pg_trgm,unaccent.")
        ),
    }

    def first_settings(self, facts: Facts) -> tuple[tuple[str, str, str], ...]:
        # Debian gives a new cluster the first port that is free from 5432 on.
        path, port = "/etc/postgresql/*/main/postgresql.conf", facts.listen[0].port
        return (
            (path, r"port = \d+\b.*", f"port = {port}"),
            # It listens where tiers say so, by the file that these share.
            (path, r"#listen_addresses = 'localhost'", "listen_addresses = ''"),
        )

    def configure(self, facts: Facts) -> Configuration:
        return Configuration(
            files=(),  # remote.py changes parts of files that belong to the cluster
            test=("pg_lsclusters",),
            unit="postgresql.service",
            own=self.own(facts),
        )

    def own(self, facts: Facts) -> Mapping[str, object]:
        return {**self.allowed(facts), **self.reach(facts)}

    def allowed(self, facts: Facts) -> Mapping[str, object]:
        return {
            "database": _name(facts, "database"),
            "user": _name(facts, "user"),
            "version": facts.options["version"],
            "extensions": facts.options["extensions"].replace(" ", ""),
            "host": facts.listen[0].bare_host,
        }

    def url(self, facts: Facts) -> str:
        user, database = _name(facts, "user"), _name(facts, "database")
        return f"postgres://{user}:{quote(facts.secret, safe='')}@{facts.url_host}/{database}"


def _name(facts: Facts, option: str) -> str:
    return facts.options[option] or re.sub(r"\W", "_", facts.prefix)[:LONGEST_NAME]


KIND = Postgresql()
