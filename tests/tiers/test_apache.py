"""Apache as a tier: it runs a site as mod_wsgi, and knows where others listen."""

from dataclasses import replace

import pytest

from deploy_manager.recipes import HealthCheck, Reload
from tests.parts.machine_site import MachineSite
from tests.parts.tiers import NAME, PORT, TieredSite, prepare

pytestmark = pytest.mark.machines


def test_apache_runs_a_site_beside_another_one(machine_site: MachineSite) -> None:
    machine, bind = machine_site.machine, f"{machine_site.machine.address}:{PORT}"
    machine_site.change(
        reload=Reload("touch", bind=bind),
        health=HealthCheck(url=f"http://{bind}/", deadline=5),
        variables={"COLOUR": "red"},
    )
    machine_site.make("r1")
    machine.run(f"ln -sfn releases/r1 {machine_site.path}/current && chmod 755 ~")
    prepare(machine, "apache")
    machine.run(f"echo 'Listen {machine.address}:8070' >>/etc/apache2/ports.conf", "root")
    site = TieredSite(machine_site)
    names = (NAME, machine.address)
    listen = [f"http://{machine.address}:{port}" for port in (PORT, 8070)]
    tier = site.tier("apache", names=names, listen=listen, runs_site=True, backends=())
    assert "127.0.9" in site.preview(tier)
    printed = site.apply(tier)
    assert "Apache listens at" in printed
    assert "from release r1" in machine_site.switch_to("r1")
    assert site.ask().text == "r1 red"
    account = machine.run("ps -eo user:20,args | grep '[(]wsgi:shop' | cut -d' ' -f1 | sort -u")
    assert account.strip() == "deploy"
    assert "from release r2" in machine_site.deploy("r2")
    assert site.ask().text == "r2 red"

    # Another site at the same address: neither takes the other's requests.
    other = replace(
        site.tier("apache", names=("blog.example.org",), backends=("127.0.0.1:9",)),
        prefix="blog-production",
    )
    machine_site.change(unit_prefix="blog-production")
    assert "In effect." in site.apply(other)
    assert site.ask().text == "r2 red"
    assert site.ask(host="blog.example.org").status == 503
    assert site.ask(host="other.example.org").status == 421
    machine_site.change(unit_prefix="shop-production")
    assert "removed" in site.apply()
    assert site.ask(host="blog.example.org").status == 503
