"""Tiers whose change was interrupted, edited by hand, or is not wanted any more."""

import pytest

from tests.parts.machine_site import MachineSite
from tests.parts.tiers import TieredSite

pytestmark = pytest.mark.machines
PATH = "/etc/nginx/sites-enabled/shop-production-nginx.conf"
STATE = "/var/lib/deploy_manager/tiers/shop-production.json"


def test_a_change_that_was_cut_off_is_finished_and_one_not_wanted_is_ended(
    machine_site: MachineSite,
) -> None:
    run = machine_site.machine.run
    run("rm -f /etc/nginx/sites-enabled/default", "root")
    machine_site.deploy("r1")
    site = TieredSite(machine_site)
    tier = site.tier("nginx")
    site.apply(tier)

    # The power fails between the switch and the reload: the new files lie there, unread.
    changed = site.tier("nginx", options={"max_body": "11m"})
    before = run(f"cat {PATH} {STATE}")
    run("systemctl stop nginx && mv /usr/sbin/nginx /usr/sbin/nginx.away", "root")
    assert "nginx is missing here" in site.refusal(changed)
    assert run(f"cat {PATH} {STATE}") == before
    run("mv /usr/sbin/nginx.away /usr/sbin/nginx && systemctl start nginx", "root")
    run(f'sed -i \'s/"owed": false/"owed": true/\' {STATE} && sed -i s/10m/11m/ {PATH}', "root")
    assert "In effect." in site.apply(changed)
    assert '"owed": false' in run(f"cat {STATE}")

    # Edited by hand: shown first, then as the rows say.
    run(f"echo '# by hand' >>{PATH}", "root")
    assert "-# by hand" in site.preview(changed)
    site.apply(changed)
    assert "by hand" not in run(f"cat {PATH}")

    # Not wanted any more.
    assert "would be removed" in site.preview()
    site.apply()
    assert run(f"ls {PATH} {STATE} 2>/dev/null || true") == ""
    assert "This server has no tiers." in site.apply()
    machine_site.machine.run("systemctl is-active nginx")
