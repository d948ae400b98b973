"""`python -m example_project.demo.machines`: the demo on Debian machines that it starts itself.

Six bare machines become a site with tiers: Apache with mod_wsgi on four, nginx before them,
PostgreSQL, memcached and Redis behind them, workers and beat. Then three questions are answered:
a server is added, a library is upgraded, a developer starts. At the end all power is cut.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VAR = Path(__file__).parent.parent / "var-machines"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
os.environ.setdefault("DEPLOY_MANAGER_DEMO_DIR", str(VAR))
os.environ["SSH_KEY_FILE"] = str(Path(os.environ["DEPLOY_MANAGER_DEMO_DIR"]) / "key")

import django  # noqa: E402
from django.core.management import call_command  # noqa: E402

django.setup()

from deploy_manager.models import Environment  # noqa: E402
from example_project.demo import commands, inventory, processes, repository, talk  # noqa: E402
from example_project.settings import VAR as FOLDER  # noqa: E402
from tests.parts.machines import Machine, Pool  # noqa: E402

PATIENCE = 120.0
"""Seconds for the site to answer after a change that is not a deployment."""

RELEASE = "bookworm"
UPGRADED = "sqlparse"


class DemoError(Exception):
    """The reason why the demo could not go on."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/demo --machines", description=__doc__)
    parser.add_argument("--check", action="store_true", help="play it, then stop")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("Only root can start machines: run it with sudo.", file=sys.stderr)
        return 1
    try:
        _play(stay=not options.check)
    except DemoError as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.")
    return 0


def _play(*, stay: bool) -> None:
    # Machines do not outlive the demo, so neither do the rows that describe them.
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "broker").mkdir(parents=True, mode=0o700)
    key = FOLDER / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    call_command("migrate", verbosity=0)
    password = inventory.make_administrator(FOLDER)
    repository.make_repository(FOLDER / "guestbook")
    pool = Pool(key)
    try:
        with processes.Processes(FOLDER) as running:
            admin = _start(running)
            print(f"\nAdmin   {admin}   login: {inventory.USER}   password: {password}")
            _acts(pool)
            if stay:
                print(f"\nAdmin   {admin}   login: {inventory.USER}   password: {password}")
                print("Ctrl-C stops everything.", flush=True)
                signal.pause()
    finally:
        pool.end()


def _start(running: processes.Processes) -> str:
    address = f"127.0.0.1:{inventory.free_port()}"
    running.start("web", "django", "runserver", "--noreload", address)
    worker = ["--pool", "threads", "--concurrency", "4", "--loglevel", "info"]
    running.start("worker", "celery", "-A", "example_project", "worker", *worker)
    running.start("beat", "celery", "-A", "example_project", "beat", "--pidfile=")
    return f"http://{address}/"


def _acts(pool: Pool) -> None:
    with _act(f"Six bare machines ({RELEASE}) are switched on."):
        machines = dict(
            zip(talk.ROLES, pool.take(len(talk.ROLES), RELEASE, bare=True), strict=True)
        )
    environment = talk.make_environment(FOLDER / "guestbook")
    for name, machine in machines.items():
        talk.add_server(environment, name, machine, talk.ROLES[name])
    front = machines["static1"]
    with _act("From bare machines to the site: provision, tiers, deploy."):
        _run("provision", talk.SITE, *talk.ROLES, "--yes", "--no-converge")
        _run("tiers", talk.SITE, "--yes")
        _run("deploy", talk.SITE)
        _wait_for_site(front)
    with _act("A server is added: what now?"):
        (fifth,) = pool.take(1, RELEASE, bare=True)
        machines[talk.FIFTH] = fifth
        talk.add_server(environment, talk.FIFTH, fifth, ["app"])
        _run("provision", talk.SITE, talk.FIFTH, "--yes")
        _expect_to_serve(environment, talk.FIFTH)
    with _act("app3 burns down, and is replaced by a bare machine."):
        machines["app3"].cut_power()
        (machines["app3"],) = pool.take(1, RELEASE, bare=True)
        talk.replace_server("app3", machines["app3"])
        _run("provision", talk.SITE, "app3", "--yes")
        _expect_to_serve(environment, "app3")
    with _act(f"A library must be upgraded on all of them: {UPGRADED}. What now?"):
        _run("upgrade", UPGRADED, "--latest", "--environment", talk.SITE)
        _run("inventory", talk.SITE)
        _wait_for_site(front)
    with _act("A new developer starts: what now?"):
        _welcome()
    with _act("Maintenance, by fab, through nginx and Apache."):
        _maintain(front, machines["app1"])
    with _act("The power of all seven machines is cut."):
        for machine in machines.values():
            machine.cut_power()
        for machine in machines.values():
            machine.switch_on()
        answer = _wait_for_site(front)
        print(f"The site is back: {answer}")


@contextmanager
def _act(title: str) -> Iterator[None]:
    print(f"\n== {title}", flush=True)
    began = time.monotonic()
    yield
    print(f"== done after {time.monotonic() - began:.0f} s", flush=True)


def _run(*words: str) -> None:
    print(f"$ manage.py {' '.join(words)}", flush=True)
    if commands.run(*words):
        raise DemoError(f"manage.py {' '.join(words)}")


def _fab(*words: str) -> None:
    print(f"$ fab {' '.join(words)}", flush=True)
    folder = Path(__file__).parent.parent
    command = [sys.executable, "-m", "fabric", *words]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise DemoError(f"fab {' '.join(words)}")


def _ask(machine: Machine, path: str = "/health/") -> tuple[int, str]:
    """Return the status and the text of an answer; status 0 if there is none."""
    url = f"http://{machine.address}:{talk.PORT}{path}"
    request = urllib.request.Request(url, headers={"Host": talk.NAME})
    try:
        with urllib.request.urlopen(request, timeout=20) as got:  # noqa: S310
            return got.status, got.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def _wait_for_site(machine: Machine) -> str:
    """Return the site's answer once it comes from the release that a worker runs, too."""
    found: tuple[int, str] = (0, "")

    def is_well() -> bool:
        nonlocal found
        found = _ask(machine)
        return found[0] == 200 and _is_counted(json.loads(found[1]))

    if not processes.wait_for(is_well, PATIENCE):
        raise DemoError(f"{machine.address} answers {found[0]}: {found[1][:500]}")
    return found[1]


def _is_counted(answer: dict[str, Any]) -> bool:
    counted = answer.get("counted") or {}
    return bool(answer["release"]) and counted.get("release") == answer["release"]


def _expect_to_serve(environment: Environment, name: str) -> None:
    served = set(
        environment.placements.exclude(active_release=None).values_list("server__name", flat=True)
    )
    if name not in served:
        raise DemoError(f"{name} serves nothing: {sorted(served)}")


def _welcome() -> None:
    """Add a colleague to the admin, who may deploy and needs nothing on a laptop but a browser."""
    from django.contrib.auth.models import Group, Permission, User  # noqa: PLC0415

    group, _ = Group.objects.get_or_create(name="developers")
    group.permissions.set(
        Permission.objects.filter(
            content_type__app_label="deploy_manager",
            codename__in=["view_environment", "deploy_environment"],
        )
    )
    colleague = User.objects.create_user("developer", password="welcome", is_staff=True)  # noqa: S106
    colleague.groups.add(group)
    print("An account, and the group “developers”, which may view and deploy: a browser is enough.")
    print("On the admin: login: developer   password: welcome")


def _maintain(front: Machine, app: Machine) -> None:
    _fab("production", "maintenance_up")
    for name, machine in (("nginx", front), ("Apache", app)):
        status, _text = _ask(machine, "/")
        print(f"Through {name}: status {status}")
        if status != 503:
            raise DemoError(f"{name} shows no maintenance page")
    _fab("production", "checkout_latest")
    _fab("production", "maintenance_down")
    _wait_for_site(front)


if __name__ == "__main__":
    sys.exit(main())
