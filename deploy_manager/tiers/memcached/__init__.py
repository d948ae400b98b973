"""memcached: a cache of the site's own, which only its servers can reach."""

from collections.abc import Mapping

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.data import DataTier
from deploy_manager.tiers.kinds import NUMBER, Configuration, Facts, Option, Proof


class Memcached(DataTier):
    name = "memcached"
    title = _("memcached: a cache")
    roles = ("cache", "memcached", "app")
    packages = ("memcached",)
    stopped = ("memcached.service",)
    usual_port = 11211
    takes_lines = False
    variable = "CACHE_URL"
    options = {
        "memory": Option("64", NUMBER, _("Megabytes that it may keep.")),
        "connections": Option("1024", NUMBER, _("The most at a time.")),
    }

    def configure(self, facts: Facts) -> Configuration:
        unit = f"{facts.label}.service"
        return Configuration(
            files=(),  # remote.py writes the unit: root runs what stands in one
            test=("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{unit}"),
            unit=unit,
            own_unit=True,
            restarts=True,
            proofs=(Proof(f"memcache://{facts.listen[0].reached_at}", "", ""),),
            own=self.own(facts),
        )

    def own(self, facts: Facts) -> Mapping[str, object]:
        return {
            **self.reach(facts),
            "site": facts.site,
            "memory": int(facts.options["memory"]),
            "connections": int(facts.options["connections"]),
        }

    def url(self, facts: Facts) -> str:
        return f"pymemcache://{facts.url_host}"


KIND = Memcached()
