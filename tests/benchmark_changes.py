"""`script/test --machines -s tests/benchmark_changes.py`: requests lost while releases change.

Three ways to serve, each on one server alone and on two behind nginx, which is told to hide
nothing: each change is a switch, a reload and its proof, there and back as a rollback does. A
request is lost if it is answered with an error or not at all. Prints a line for each. CHANGES=50
in the environment says how many changes.
"""

import http.client
import os
import threading
import time
from collections import Counter

import pytest

from deploy_manager.recipes import Process, Reload
from tests.parts.machine_site import MachineSite
from tests.parts.machines import Machine, MakeMachines
from tests.test_processes import APACHE

pytestmark = pytest.mark.machines

CHANGES = int(os.environ.get("CHANGES", "50"))
ASKERS = 4
BALANCER = """
cat >/etc/nginx/sites-enabled/default <<'END'
upstream site {{ {servers} }}
server {{
    listen {address}:8080;
    location / {{ proxy_pass http://site; proxy_next_upstream off; }}
}}
END
systemctl restart nginx
"""


def hands_over(site: MachineSite) -> None:
    """gunicorn, which starts its successor: the default."""
    site.change(reload=Reload("gunicorn", bind=site.site.reload.bind, workers=2))


def has_a_socket(site: MachineSite) -> None:
    """uvicorn on a socket of systemd."""
    site.run_processes(Process("web", "asgi", bind=site.site.reload.bind, number=2))


def has_apache(site: MachineSite) -> None:
    """mod_wsgi with our file."""
    site.change(reload=Reload("touch", bind=site.site.reload.bind))
    site.machine.run(f"ln -sfn releases/r1 {site.path}/current")
    text = APACHE.format(bind=site.site.reload.bind, file=f"{site.path}/site.wsgi")
    site.machine.run(text, user="root")


WAYS = {
    "gunicorn's hand-over": hands_over,
    "socket unit (uvicorn)": has_a_socket,
    "mod_wsgi": has_apache,
}


class Load:
    """Askers that ask without a pause, each request on a connection of its own."""

    def __init__(self, address: str, askers: int) -> None:
        self.address = address
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(askers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._enough.is_set():
            began = time.monotonic()
            connection = http.client.HTTPConnection(self.address, timeout=60)
            try:
                connection.request("GET", "/")
                status = str(connection.getresponse().status)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
            finally:
                connection.close()
            self.answers[status] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


def balance(machine: Machine, sites: list[MachineSite]) -> str:
    servers = " ".join(f"server {site.site.reload.bind};" for site in sites)
    machine.run(BALANCER.format(servers=servers, address=machine.address), user="root")
    return f"{machine.address}:8080"


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "two"])
@pytest.mark.parametrize("name", WAYS)
def test_requests_lost_while_releases_change(
    machines: MakeMachines, ssh_settings: object, name: str, count: int
) -> None:
    taken = machines(count)
    sites = [MachineSite(machine) for machine in taken[:-1] or taken]
    for site in sites:
        site.make("r1")
        site.make("r2")
        WAYS[name](site)
        site.switch_to("r1")
    address = balance(taken[-1], sites) if count > 1 else sites[0].site.reload.bind
    began = time.monotonic()
    with Load(address, ASKERS) as load:
        for number in range(CHANGES):
            for site in sites:
                site.switch_to("r2" if number % 2 == 0 else "r1")
    lost = sum(times for status, times in load.answers.items() if status != "200")
    print(
        f"{name:24} {'two behind nginx' if count > 1 else 'one alone':16} {CHANGES} changes in"
        f" {time.monotonic() - began:5.0f} s: {sum(load.answers.values()):6} requests,"
        f" {lost} lost, slowest {load.slowest:.2f} s  {dict(load.answers)}"
    )
