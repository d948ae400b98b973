"""No way to serve a site is called a success while an old release serves, or nothing does.

Each way to serve meets each fault on a server of its own. A deployment has to fail, or to be what
it says: the new release alone answers, and what it runs stays up. What became of each is in the
report that --junitxml writes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes import HealthCheck, Process, Reload
from tests.parts.machine_site import FILES, MachineSite

pytestmark = [pytest.mark.machines, pytest.mark.long]

BROKEN = "raise RuntimeError('it does not start')"
DIES = "\nimport os, threading\nthreading.Timer(0.7, lambda: os._exit(1)).start()\n"
STAYS = """
import os, socket, time
if not os.fork():
    os.setsid()
    time.sleep(600)
"""
LISTENER = """
cd {path}/releases/r1 && cat >/tmp/listen.py <<'END'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"r1 ")
http.server.HTTPServer(("{host}", {port}), Handler).serve_forever()
END
nohup python3 /tmp/listen.py </dev/null >/dev/null 2>&1 &
"""
APPLICATIONS = ("config/wsgi", "config/asgi", "config/celery")
NO_SYSTEMCTL = """
mv /bin/systemctl /bin/systemctl.real
cat >/bin/systemctl <<'END'
#!/bin/sh
for word; do case $word in restart|start|reload-or-restart) exit 0;; esac; done
exec /bin/systemctl.real "$@"
END
chmod 755 /bin/systemctl
"""
OWN_UNIT = """
mkdir -p .config/systemd/user
cat >.config/systemd/user/own.service <<'END'
[Service]
WorkingDirectory={path}/current
EnvironmentFile={path}/.deploy/variables.env
ExecStart={path}/current/venv/bin/python -m gunicorn config.wsgi --bind {bind}
Restart=always
RestartSec=1
[Install]
WantedBy=default.target
END
systemctl --user daemon-reload
systemctl --user enable own
"""
OWN_COMMAND = (
    "kill $(cat {path}/own.pid) 2>/dev/null; sleep 1;"
    " {path}/current/venv/bin/gunicorn config.wsgi --daemon --pid {path}/own.pid --bind {bind}"
)
APACHE = """
printf 'Listen %s\\n' {bind} >/etc/apache2/ports.conf
cat >/etc/apache2/sites-enabled/000-default.conf <<'END'
<VirtualHost *>
    WSGIDaemonProcess shop user=deploy processes=2 threads=2
    WSGIProcessGroup shop
    WSGIApplicationGroup %{{GLOBAL}}
    WSGIScriptAlias / {path}/site.wsgi
    <Directory />
        Require all granted
    </Directory>
</VirtualHost>
END
chmod 755 /home/deploy
ln -sfn releases/r1 {path}/current
systemctl enable --now apache2
"""


@dataclass(frozen=True)
class Way:
    """How a site is served."""

    name: str
    supervisor: str = "systemd-user"
    process: Process | None = None
    method: str = "gunicorn"
    target: str = ""
    prepare: str = ""
    """What root does before the first deployment."""

    own: str = ""
    """What the account does before it."""

    def set_up(self, site: MachineSite) -> None:
        bind = site.site.reload.bind
        words = {"path": site.path, "bind": bind}
        site.change(
            supervisor=self.supervisor,
            reload=Reload(self.method, self.target.format(**words), bind=bind, workers=2),
            health=HealthCheck(url=f"http://{bind}/", deadline=4),
        )
        if self.process is not None:
            own = bind if self.process.kind in ("wsgi", "asgi") else ""
            site.run_processes(replace(self.process, bind=own))
        site.make("r1")
        if self.own:
            site.machine.run(self.own.format(**words))
        if self.prepare:
            site.machine.run(self.prepare.format(**words), user="root")
        site.switch_to("r1")
        assert site.said() == "r1"


WORKER = Process("worker", "worker")
DAPHNE = Process("web", "asgi", "daphne --fd {fd} {application}")
COMMAND = Process("web", "wsgi", "gunicorn config.wsgi --workers 2 --bind {bind}")
WAYS = [
    Way("gunicorn, unit of the account"),
    Way("gunicorn, unit of the system", "systemd"),
    Way("gunicorn, own starter", "starter"),
    Way("uvicorn, unit", process=Process("web", "asgi")),
    Way("uvicorn, own starter", "starter", Process("web", "asgi")),
    Way("daphne, unit", process=DAPHNE),
    Way("gunicorn by a command, unit", process=COMMAND),
    Way("worker, unit", process=WORKER),
    Way("worker, own starter", "starter", WORKER),
    Way("unit of one's own", method="systemd-user", target="own.service", own=OWN_UNIT),
    Way("mod_wsgi, our file", method="touch", prepare=APACHE),
    Way("own command", method="command", target=OWN_COMMAND),
]


def starts_not(site: MachineSite) -> None:
    site.make("r2", **{name.replace("/", "__"): BROKEN for name in APPLICATIONS})


def starts_and_dies(site: MachineSite) -> None:
    texts = {name.replace("/", "__"): FILES[f"{name}.py"] + DIES for name in APPLICATIONS}
    site.make("r2", **texts)


def old_one_has_the_port(site: MachineSite) -> None:
    host, _colon, port = site.site.reload.bind.partition(":")
    site.make("r2")
    site.machine.run("systemctl stop apache2 || true", user="root")
    site.machine.run("systemctl stop 'shop-*' || true", user="root")
    site.machine.run("systemctl --user stop 'shop-*' own || true")
    site.machine.run("pkill -f '[g]unicorn'; pkill -f '[p]rocesses.pyz'; sleep 0.5; true")
    site.machine.run(LISTENER.format(path=site.path, host=host, port=port))
    site.machine.run("sleep 0.5")


def reload_does_nothing(site: MachineSite) -> None:
    site.make("r2")
    site.machine.run(NO_SYSTEMCTL, user="root")
    site.machine.run("pkill -STOP -f '[p]rocesses.pyz serve' || true")
    site.machine.run("pkill -STOP -f '[c]elery.*worker' || true")
    if site.site.reload.method == "command":
        site.change(reload=replace(site.site.reload, target="true"))
    if site.site.reload.method == "touch":
        file = "/etc/apache2/sites-enabled/000-default.conf"
        script = f"sed -i 's/<Directory/WSGIScriptReloading Off\\n&/' {file}"
        site.machine.run(f"{script}; systemctl.real restart apache2", user="root")
        assert site.said() == "r1"


def half_of_it_is_old(site: MachineSite) -> None:
    texts = {name.replace("/", "__"): FILES[f"{name}.py"] + STAYS for name in APPLICATIONS}
    site.make("r1", **texts)
    site.switch_to("r1")
    site.said()
    site.make("r2")


def folder_of_another_release(site: MachineSite) -> None:
    """Somebody points `current` back between the switch and the reload."""
    site.make("r2")
    site.points_back_to = "r1"


FAULTS: list[Callable[[MachineSite], None]] = [
    starts_not,
    starts_and_dies,
    old_one_has_the_port,
    reload_does_nothing,
    half_of_it_is_old,
    folder_of_another_release,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name.replace(", ", "-").replace(" ", "_"))
def test_nothing_is_called_a_success_that_is_none(
    machine_site: MachineSite,
    way: Way,
    fault: Callable[[MachineSite], None],
    record_property: Callable[[str, object], None],
) -> None:
    site = machine_site
    way.set_up(site)
    fault(site)
    try:
        printed = site.switch_to("r2")
    except RecipeError as error:
        record_property("outcome", f"refused: {str(error).splitlines()[0]}")
        return
    site.machine.run("sleep 3")
    answers = {site.said() for _ in range(20)}
    assert answers == {"r2"}, printed
    left = site.machine.run("readlink /proc/[0-9]*/cwd | grep -c 'releases/r1' || true").strip()
    record_property("outcome", f"true success, {left} processes left, which the log names")
    assert left == "0" or "still runs release r1" in printed
