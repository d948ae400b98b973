"""One site, served by gunicorn behind nginx on one machine and by Apache's mod_wsgi on another."""

from collections.abc import Iterator

import pytest

from deploy_manager.recipes import HealthCheck, Reload, get_recipe, processes
from tests.parts.machine_site import MachineSite
from tests.parts.machines import MakeMachines
from tests.parts.tiers import NAME, PORT, TieredSite, prepare

pytestmark = pytest.mark.machines


@pytest.fixture
def sites(
    machines: MakeMachines, ssh_settings: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[TieredSite]]:
    """The site on two machines, with a folder for its code that web servers may enter."""
    monkeypatch.setattr(processes, "GRACE_SECONDS", 3)
    found = [TieredSite(MachineSite(machine)) for machine in machines(2)]
    for site, kind in zip(found, ("nginx", "apache"), strict=True):
        site.machine.run("chmod 755 ~")
        prepare(site.machine, kind)
    yield found
    for site in found:
        site.site.host.close()


def test_a_site_is_served_in_two_ways_and_balanced_over_both(sites: list[TieredSite]) -> None:
    front, apache = sites
    bind = f"{apache.machine.address}:{PORT}"
    apache.site.change(reload=Reload("touch", bind=bind), health=HealthCheck(f"http://{bind}/"))
    apache.apply(
        apache.tier("apache", names=(NAME, apache.machine.address), runs_site=True, backends=())
    )
    for site in sites:
        assert "from release r1" in site.site.deploy("r1")
    backends = (front.site.site.reload.bind, bind)
    front.apply(front.tier("nginx", backends=backends))
    assert front.ask().text == apache.ask().text == "r1"

    # A release on one of the two: both are asked in turn.
    apache.site.deploy("r2")
    assert {front.ask().text for _ in range(10)} == {"r1", "r2"}
    front.site.deploy("r2")
    assert {front.ask().text for _ in range(10)} == {"r2"}

    for site in sites:
        get_recipe("maintenance_up").function(site.site.host, site.site.site)
    assert [site.ask().status for site in sites] == [503, 503]
    for site in sites:
        get_recipe("maintenance_down").function(site.site.host, site.site.site)

    # One of them loses its power: its share goes to the other.
    apache.machine.cut_power()
    assert {front.ask().text for _ in range(6)} == {"r2"}
    apache.machine.switch_on()
    apache.machine.wait_until_ready()
    assert apache.ask().text == "r2"
