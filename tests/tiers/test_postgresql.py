"""PostgreSQL as a tier: role, database, rules and addresses in a cluster that others may share."""

import shlex
import socket
import struct
from dataclasses import replace

import pytest

from deploy_manager.tiers.kinds import get_kind
from tests.parts.machine_site import MachineSite
from tests.parts.machines import Machine
from tests.parts.served import wait_until
from tests.parts.tiers import TieredSite

pytestmark = pytest.mark.machines
STRANGER = "127.0.9.9"


def test_a_site_gets_a_database_that_only_its_servers_reach(machine_site: MachineSite) -> None:
    site, machine = TieredSite(machine_site), machine_site.machine
    listen = [f"{machine.address}:5432"]
    # Its package took another one if 5432 was in use while the base system was made.
    machine.run("sed -i 's/^port = .*/port = 5432/' /etc/postgresql/*/main/postgresql.conf", "root")
    tier = site.tier("postgresql", listen=listen, options={"extensions": "pg_trgm,unaccent"})
    assert "would be started" in site.preview(tier)
    printed = site.apply(tier)
    assert "The database shop_production is created." in printed
    assert "restarted" in printed
    assert "aSecret" not in printed
    url = get_kind("postgresql").url(tier)
    place = f"{machine.address}:5432/shop_production"
    assert url == f"postgres://shop_production:aSecretOfTheTests@{place}"
    assert ask(machine, url, "CREATE TABLE a (b text); SELECT similarity('ä', 'ä')") == "1"
    encoding = (
        "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname=current_database()"
    )
    assert ask(machine, url, encoding) == "UTF8"
    assert "no pg_hba.conf entry" in greeting_to(STRANGER, machine)
    assert "no pg_hba.conf entry" not in greeting_to("127.0.0.1", machine)
    assert "Nothing would change." in site.preview(tier)
    assert "Nothing has changed." in site.apply(tier)

    # Another site in the same cluster; the first one keeps what it has.
    before = pid(machine)
    other = replace(site.tier("postgresql", listen=listen, secret="another"), prefix="blog")
    machine_site.change(unit_prefix="blog")
    assert "In effect." in site.apply(other)
    assert pid(machine) == before
    assert ask(machine, get_kind("postgresql").url(other), "SELECT 1") == "1"
    assert ask(machine, url, "SELECT 1") == "1"
    printed = site.apply()
    assert "role blog stay in" in printed
    assert "blog" not in machine.run("cat /etc/postgresql/*/main/pg_hba.conf", "root")
    machine_site.change(unit_prefix="shop-production")

    # A role of somebody else keeps its password; so does that of a site that was taken away.
    machine.run("runuser -u postgres -- createuser somebody", "root")
    assert "There is a role somebody already" in site.refusal(
        site.tier("postgresql", listen=listen, options={"user": "somebody"})
    )
    assert "There is a role blog already" in site.refusal(
        site.tier("postgresql", listen=listen, options={"user": "blog"})
    )

    # Another password, and a reboot.
    changed = replace(tier, secret="anotherOne")
    assert "gets the password" in site.preview(changed)
    site.apply(changed)
    assert "password authentication failed" in ask(machine, url, "SELECT 1")
    url = get_kind("postgresql").url(changed)
    machine.power_cycle()
    machine_site.connect()
    wait_until(lambda: ask(machine, url, "SELECT count(*) FROM a") == "0")

    is_refused(site, tier, machine)
    assert ask(machine, url, "SELECT 1") == "1"
    log = machine.run("cat /var/log/postgresql/*", "root")
    assert "anotherOne" not in log
    assert "aSecret" not in log


def is_refused(site: TieredSite, tier: object, machine: Machine) -> None:
    """Try what must change nothing of the cluster that runs."""
    rules = machine.run("cat /etc/postgresql/*/main/pg_hba.conf", "root")
    listen = [f"{machine.address}:5432"]

    def refusal(**options: str) -> str:
        return site.refusal(site.tier("postgresql", listen=listen, options=options))

    assert "belongs to postgres" in refusal(database="postgres")
    assert "is a superuser" in refusal(user="postgres")
    assert "no extension nothing" in refusal(extensions="nothing")
    assert "no cluster" in refusal(version="9")
    wrong = site.tier("postgresql", listen=[f"{machine.address}:5499"])
    assert "has port 5432" in site.refusal(wrong)
    broken = "echo 'host all all nonsense/77 md5' >>$(ls /etc/postgresql/*/main/pg_hba.conf)"
    machine.run(broken, "root")
    more = site.tier("postgresql", listen=listen, secret="anotherOne", clients=("192.0.2.8",))
    refused = site.refusal(more)
    assert "nonsense" in refused
    assert "Taken back" in refused
    assert "192.0.2.8" not in machine.run("cat /etc/postgresql/*/main/pg_hba.conf", "root")
    machine.run("sed -i '/nonsense/d' /etc/postgresql/*/main/pg_hba.conf", "root")
    assert machine.run("cat /etc/postgresql/*/main/pg_hba.conf", "root") == rules


def greeting_to(source: str, machine: Machine) -> str:
    """Return what the server says to somebody at an address who names the site's role."""
    words = b"user\0shop_production\0database\0shop_production\0\0"
    with socket.create_connection((machine.address, 5432), 5, (source, 0)) as connection:
        connection.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
        return connection.recv(1000).decode(errors="replace")


def ask(machine: Machine, url: str, question: str) -> str:
    """Return what the server on a machine answers or says."""
    return machine.run(
        f"psql -X -qAt {url} -c {shlex.quote(question)} 2>&1 || true", "root"
    ).strip()


def pid(machine: Machine) -> str:
    return machine.run("head -1 /var/lib/postgresql/*/main/postmaster.pid", "root")
