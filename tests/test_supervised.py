"""What systemd runs is proven by its processes: an old release may answer with status 200 too."""

from collections.abc import Iterator
from threading import Event

import pytest

from deploy_manager.exceptions import CommandFailed
from deploy_manager.hosts.address import OpenHost, Stream
from deploy_manager.hosts.opening import open_host
from deploy_manager.recipes import HealthCheck, Reload, Site, get_recipe, processes
from tests.parts.machines import Machine, MakeMachines

pytestmark = pytest.mark.machines

UNIT = """
[Service]
WorkingDirectory={path}/current
ExecStart=/usr/bin/python3 {path}/current/serve.py
Restart=always
RestartSec=0.3
{more}
[Install]
WantedBy=default.target
"""
SERVE = """
import http.server, pathlib, signal, sys
signal.signal(signal.SIGHUP, lambda *_: None)
here = pathlib.Path.cwd().name.encode()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(here)

http.server.HTTPServer(("{address}", 8000), Handler).serve_forever()
"""
DIES = "import time; time.sleep(0.5); raise SystemExit(1)"
LEAVES_A_CHILD = "import subprocess; subprocess.Popen(['sleep', '600'])\n"
RELOADED = "ExecReload=/bin/kill -HUP $MAINPID"


class Served:
    """A site on a machine, in releases that a unit serves."""

    def __init__(self, machine: Machine, host: OpenHost, printed: bytearray) -> None:
        self.machine = machine
        self.printed = printed
        self._host = host
        self.path = str(machine.home / "site")
        self.serve = SERVE.format(address=machine.address)
        self.site = Site(
            environment="shop/production",
            deploy_path=self.path,
            reload=Reload("systemd-user", "shop.service"),
            health=HealthCheck(url=f"http://{machine.address}:8000/", deadline=3),
        )

    def add_unit(self, more: str = "") -> None:
        folder = ".config/systemd/user"
        text = UNIT.format(path=self.path, more=more)
        self.machine.run(f"mkdir -p {folder} && cat >{folder}/shop.service <<'END'\n{text}\nEND")
        self.machine.run("systemctl --user daemon-reload && systemctl --user enable shop.service")

    def deploy(self, release: str, serve: str = "") -> str:
        """Make a release, activate, reload and verify it; return what was printed."""
        folder = f"{self.path}/releases/{release}"
        complete = f"{folder}/.complete {folder}/venv/.complete"
        self.machine.run(f"mkdir -p {folder}/venv && touch {complete}")
        self.machine.run(f"cat >{folder}/serve.py <<'END'\n{serve or self.serve}\nEND")
        begin = len(self.printed)
        for recipe, of in (("activate", release), ("reload", ""), ("verify", "")):
            site = Site(**{**vars(self.site), "release": of})
            get_recipe(recipe).function(self._host, site)
        return self.printed[begin:].decode()

    def said(self) -> str:
        return self.machine.run(f'python3 -c "{ASK.format(self.machine.address)}"')


ASK = "import urllib.request as r; print(r.urlopen('http://{}:8000/').read().decode())"


@pytest.fixture
def served(
    machines: MakeMachines, ssh_settings: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 2)
    (machine,) = machines(1)
    printed = bytearray()

    def note(stream: Stream, data: bytes) -> None:
        printed.extend(data)

    host = open_host(machine.address_for("web1"), note, Event())
    yield Served(machine, host, printed)
    host.close()


def test_a_unit_that_restarts_is_seen_to_run_the_new_release(served: Served) -> None:
    served.add_unit()
    assert "1 of its 1 processes run release r1" in served.deploy("r1")
    assert "1 of its 1 processes run release r2" in served.deploy("r2")
    assert served.said().strip() == "r2"


def test_a_reload_in_the_old_folder_fails_though_the_site_answers(served: Served) -> None:
    """As gunicorn's own sample unit does, which sends HUP: its folder stays the old release."""
    served.add_unit(RELOADED)
    served.deploy("r1")
    with pytest.raises(CommandFailed, match="still runs release r1 where r2 is current"):
        served.deploy("r2")
    assert b"Status 200." in served.printed
    assert served.said().strip() == "r1"


def test_a_release_that_starts_and_dies_again_and_again_fails(served: Served) -> None:
    """Without a health check, too, or while something else answers at its address."""
    served.site = Site(**{**vars(served.site), "health": HealthCheck(deadline=3)})
    served.add_unit()
    served.deploy("r1")
    with pytest.raises(CommandFailed, match="restarted"):
        served.deploy("r2", DIES)


def test_one_process_that_stayed_behind_is_found(served: Served) -> None:
    served.add_unit("KillMode=process")
    served.deploy("r1", LEAVES_A_CHILD + served.serve)
    with pytest.raises(CommandFailed, match=r"\('sleep'\) still runs release r1"):
        served.deploy("r2")


def test_after_a_power_cycle_the_unit_serves_again(served: Served) -> None:
    served.add_unit()
    served.deploy("r1")
    served.machine.power_cycle()
    served.machine.run("systemctl --user is-system-running --wait || true")
    assert served.said().strip() == "r1"
