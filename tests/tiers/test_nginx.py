"""nginx as a tier: on a machine with systemd, before a real gunicorn."""

import pytest

from tests.parts.machine_site import MachineSite
from tests.parts.tiers import TieredSite

pytestmark = pytest.mark.machines
PATH = "/etc/nginx/sites-enabled/shop-production-nginx.conf"


@pytest.fixture
def site(machine_site: MachineSite) -> TieredSite:
    machine_site.machine.run("rm -f /etc/nginx/sites-enabled/default", "root")
    machine_site.deploy("r1")
    machine_site.machine.run(
        f"cd {machine_site.path} && mkdir -p static/css shared/media && chmod 755 ~"
        " && echo plain >static/css/a.css && echo hashed >static/css/a.0123456789ab.css"
    )
    return TieredSite(machine_site)


def test_nginx_serves_a_site_and_shows_first_what_changes(site: TieredSite) -> None:
    tier = site.tier("nginx")
    shown = site.preview(tier)
    assert "+server {" in shown
    assert not site.machine.run(f"ls {PATH} 2>/dev/null || true")

    printed = site.apply(tier)
    assert "The new configuration is valid." in printed
    assert "In effect." in printed
    answer = site.ask()
    assert (answer.status, answer.text) == (200, "r1")
    assert site.ask(host="other.example.org").status == 421

    static = site.ask("/static/css/a.css")
    assert (static.text, static.headers["Cache-Control"]) == ("plain", "public, max-age=300")
    hashed = site.ask("/static/css/a.0123456789ab.css")
    assert "immutable" in hashed.headers["Cache-Control"]

    assert "Nothing would change." in site.preview(tier)
    assert "Nothing has changed." in site.apply(tier)

    # Back after a reboot, without us.
    site.site.power_cycle()
    assert site.ask().text == "r1"
