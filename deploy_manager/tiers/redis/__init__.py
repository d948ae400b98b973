"""Redis: a cache, or a broker that keeps its messages, of the site's own."""

from django.utils.translation import gettext_noop as _

from deploy_manager.tiers.data import DataTier
from deploy_manager.tiers.kinds import NUMBER, Configuration, Facts, File, Option, Proof


class Redis(DataTier):
    name = "redis"
    title = _("Redis: a cache or a broker")
    roles = ("cache", "redis", "app")
    packages = ("redis-server",)
    stopped = ("redis-server.service",)
    usual_port = 6379
    variable = "REDIS_URL"
    has_secret = True
    options = {
        "use": Option(
            "broker",
            "broker|cache",
            _("A broker keeps everything on disk; a cache forgets the oldest."),
        ),
        "memory": Option("256", NUMBER, _("Megabytes that it may keep; 0: no limit.")),
        "databases": Option("16", NUMBER, _("Number of databases; the URL uses number 0.")),
    }

    def configure(self, facts: Facts) -> Configuration:
        path = f"/etc/redis/redis-{facts.label}.conf"
        text = self.text("redis.conf", facts, listen=facts.listen[0])
        return Configuration(
            files=(File(path, text, mode=0o640, group="redis"),),
            # It has no test of its own: what it can't start with is taken back.
            test=("systemd-analyze", "verify", "--man=no", f"redis-server@{facts.label}.service"),
            unit=f"redis-server@{facts.label}.service",
            own_unit=True,
            restarts=True,
            proofs=(Proof(f"redis://{facts.listen[0].reached_at}", "", ""),),
            own=self.reach(facts),
        )

    def url(self, facts: Facts) -> str:
        return f"redis://:{facts.secret}@{facts.url_host}/0"


KIND = Redis()
