"""Tiers beside what others have on a server, and beside what they were before themselves."""

import ssl
from dataclasses import replace
from typing import Any

import pytest

from tests.parts.machine_site import MachineSite
from tests.parts.tiers import NAME, PORT, SECURE_PORT, TieredSite, make_certificate, prepare

pytestmark = pytest.mark.machines
FOLDER = "/etc/nginx/sites-enabled"
PATH = f"{FOLDER}/shop-production-nginx.conf"
SECOND_NAME = "www.example.org"
CERTIFICATES = "/etc/ssl/shop"


@pytest.fixture
def site(machine_site: MachineSite) -> TieredSite:
    machine_site.machine.run(f"rm -f {FOLDER}/default", "root")
    machine_site.deploy("r1")
    return TieredSite(machine_site)


def test_what_runs_is_what_the_files_say(site: TieredSite) -> None:
    run, address = site.machine.run, site.machine.address
    make_certificate(site.machine, CERTIFICATES)
    listen = [f"http://{address}:{PORT}", f"https://{address}:{SECURE_PORT}"]
    pair: dict[str, Any] = {
        "certificate": f"{CERTIFICATES}/chain.pem",
        "certificate_key": f"{CERTIFICATES}/key.pem",
    }
    tier = site.tier("nginx", listen=listen, **pair)
    site.apply(tier)

    # Edited by hand, reloaded, and put back without a reload.
    run(f"cp {PATH} /var/tmp/kept && sed -i s/X-Deploy-Tier/X-Other/ {PATH}", "root")
    run(f"systemctl reload nginx && sleep 1 && cp /var/tmp/kept {PATH}", "root")
    printed = site.apply(tier)
    assert "reads them anew" in printed
    assert "In effect." in printed
    assert "Nothing has changed." in site.apply(tier)

    # A new certificate in the place of the old one.
    make_certificate(site.machine, CERTIFICATES)
    assert "In effect." in site.apply(tier)
    presented = ssl.get_server_certificate((address, SECURE_PORT))
    assert presented.strip() in run(f"cat {CERTIFICATES}/chain.pem", "root")


def test_another_site_keeps_its_names_and_its_addresses(
    site: TieredSite, machine_site: MachineSite
) -> None:
    run, address = site.machine.run, site.machine.address
    line = f"server {{ listen {address}:{PORT}; server_name {SECOND_NAME}; return 204; }}"
    run(f"echo '{line}' >{FOLDER}/00-other.conf", "root")
    refusal = site.refusal(site.tier("nginx", names=(NAME, SECOND_NAME)))
    assert f"for {SECOND_NAME}" in refusal
    assert "Taken back" in refusal
    run(f"rm {FOLDER}/00-other.conf", "root")

    site.apply(site.tier("nginx", listen=[f"http://*:{PORT}"]))
    machine_site.change(unit_prefix="blog")
    other = replace(site.tier("nginx", names=("blog.example.org",)), prefix="blog")
    refusal = site.refusal(other)
    assert "take requests of another site" in refusal
    assert site.ask().text == "r1"
    assert "In effect." in site.apply(
        replace(other, listen=site.tier("nginx", listen=[f"http://*:{PORT}"]).listen)
    )
    assert site.ask().text == "r1"
    machine_site.change(unit_prefix="shop-production")


def test_a_tier_of_another_kind_ends_the_one_before_it(site: TieredSite) -> None:
    run, address = site.machine.run, site.machine.address
    redis = site.tier("redis", name="cache", listen=[f"{address}:6379"])
    site.apply(redis)

    shown = site.preview(replace(redis, secret="theNextOne"))
    assert "requirepass ********" in shown
    assert "aSecret" not in shown

    memcached = site.tier("memcached", name="cache", listen=[f"{address}:11211"])
    assert "would be removed" in site.preview(memcached)
    assert "removed from this server" in site.apply(memcached)
    unit = "redis-server@shop-production-cache"
    assert run(f"systemctl is-active {unit} || true", "root") == "inactive\n"
    assert "shop-production-cache" not in run("ls /etc/redis", "root")
    assert "Nothing has changed." in site.apply(memcached)


def test_apache_ends_with_the_last_address_that_it_listens_on(machine_site: MachineSite) -> None:
    machine_site.deploy("r1")
    prepare(machine_site.machine, "apache")
    site = TieredSite(machine_site)
    site.apply(site.tier("apache"))
    assert site.ask().text == "r1"
    assert "removed from this server" in site.apply()
    with pytest.raises(OSError):
        site.ask()
    units = machine_site.machine.run(
        "systemctl --failed --no-legend; systemctl is-enabled apache2 || true"
    )
    assert units == "disabled\n"
    assert "This server has no tiers." in site.apply()
