"""memcached and Redis as tiers: a unit for each site, with its own address and clients."""

import socket

import pytest

from deploy_manager.tiers.kinds import complete_options, get_kind
from tests.parts.machine_site import MachineSite
from tests.parts.machines import Machine
from tests.parts.tiers import TieredSite

pytestmark = pytest.mark.machines
STRANGER = "127.0.9.9"


def test_a_cache_and_a_broker_are_the_sites_own(machine_site: MachineSite) -> None:
    site, machine = TieredSite(machine_site), machine_site.machine
    listen = {kind: [f"{machine.address}:{port}"] for kind, port in PORTS.items()}
    memcached = site.tier("memcached", listen=listen["memcached"])
    redis = site.tier("redis", listen=listen["redis"])
    shown = site.preview(memcached, redis)
    assert f"+ExecStart=/usr/bin/memcached -l {machine.address} -p 11211" in shown
    assert "+requirepass ********" in shown

    printed = site.apply(memcached, redis)
    assert printed.count("In effect.") == 2
    assert "aSecret" not in printed
    is_open = "no effect on this machine" in printed
    assert printed.count("no effect on this machine") in {0, 2}
    url = get_kind("redis").url(redis)
    assert url == f"redis://:aSecretOfTheTests@{machine.address}:6379/0"
    assert get_kind("memcached").url(memcached) == f"pymemcache://{machine.address}:11211"
    assert ask(machine, "memcached", "stats settings").count("STAT maxbytes 67108864") == 1
    assert ask(machine, "redis", "PING") == "-NOAUTH Authentication required."
    own = "AUTH aSecretOfTheTests\r\nSET a 1\r\nCONFIG GET appendonly"
    assert "yes" in ask(machine, "redis", own)
    assert reaches(machine, "memcached", STRANGER) == is_open
    file = "/etc/redis/redis-shop-production-redis.conf"
    assert machine.run(f"stat -c %a%G {file}", "root") == "640redis\n"

    assert site.apply(memcached, redis).count("Nothing has changed.") == 2
    assert "can't be 'lots'" in options_refused("redis", memory="lots")

    # What can't start is taken back; what was kept is still there.
    wrong = site.tier("redis", listen=listen["redis"], lines="no-such-directive 1")
    refusal = site.refusal(memcached, wrong)
    assert "what was here before is in effect" in refusal
    assert "no-such-directive" in refusal
    machine.power_cycle()
    machine_site.connect()
    assert "1" in ask(machine, "redis", "AUTH aSecretOfTheTests\r\nGET a")

    assert "redis (redis): removed" in site.apply(memcached)
    with pytest.raises(OSError):
        ask(machine, "redis", "PING")
    left = machine.run("ls /etc/redis /etc/systemd/system /etc/systemd/system/*.wants", "root")
    assert "shop-production-redis" not in left.replace("shop-production-redis.service.d", "")


PORTS = {"memcached": 11211, "redis": 6379}


def options_refused(kind: str, **options: str) -> str:
    with pytest.raises(ValueError) as caught:
        complete_options(get_kind(kind), options)
    return str(caught.value)


def ask(machine: Machine, kind: str, question: str) -> str:
    """Return what is answered at once to lines."""
    with socket.create_connection((machine.address, PORTS[kind]), 5) as connection:
        connection.sendall(f"{question}\r\n".encode())
        connection.settimeout(0.3)
        got = b""
        try:
            while more := connection.recv(10_000):
                got += more
        except TimeoutError:
            pass
        return got.decode().strip()


def reaches(machine: Machine, kind: str, source: str) -> bool:
    with socket.socket() as stranger:
        stranger.settimeout(1)
        try:
            stranger.bind((source, 0))
            stranger.connect((machine.address, PORTS[kind]))
        except OSError:
            return False
        return True
