"""A server that nobody has set up is looked at, then made what the site needs; then it serves."""

import shlex
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.cli.inventory import provisioning as on_a_command_line
from deploy_manager.models import Environment, Placement, Requirement, Server
from tests.commands import Worker, call, call_and_fail
from tests.inventory import Inventory
from tests.parts.guestbook import make_site
from tests.parts.machines import Machine, MakeMachines
from tests.parts.repository import Repository
from tests.parts.served import wait_until

pytestmark = [pytest.mark.machines, pytest.mark.django_db(transaction=True)]

SITE = "/srv/shop"
EVERYTHING = "find / -xdev -path /proc -prune -o -path /sys -prune -o -path /run -prune -o" + (
    " -path /tmp -prune -o -path /var/log -prune -o -printf '%p %s %m %U %T@\\n' | LC_ALL=C sort;"
    " dpkg -l"
)
"""What a server's disk holds; sshd and the journal write logs whoever looks."""


def place(environment: Environment, machine: Machine, name: str = "web1", **fields: Any) -> Server:
    """Write a bare machine as a server of the site, and let nobody have been there before."""
    values = {"user": "deploy", "bootstrap_user": "root", **fields}
    server = Server.objects.create(
        name=name,
        address=machine.address,
        port=machine.port,
        host_key=machine.host_key,
        **values,
    )
    Placement.objects.create(
        environment=environment, server=server, own_bind=f"{machine.address}:8000"
    )
    return server


@pytest.fixture
def site(
    guestbook: Repository, ssh_settings: Settings, tmp_path: Path, transactional_db: None
) -> Inventory:
    """`shop/production` for the guestbook, whose own systemd keeps it running."""
    file = "guestbook/views.py"
    views = (guestbook.path / file).read_text().replace("Entry.objects.count()", "0")
    # Each server has a file of its own for the database, and converge migrates none.
    guestbook.commit("Say that it is well without a database", {file: views})
    made = make_site(tmp_path, guestbook, Path(SITE) / "shared/guestbook.sqlite3")
    Environment.objects.update(
        deploy_path=SITE, supervisor=Environment.Supervisor.AUTO, at_boot=True
    )
    made.environment.refresh_from_db()
    return made


NO_NETWORK = "/etc/apt/apt.conf.d/99no-network"


def answer_of(machine: Machine) -> str:
    """Return what the site there says of itself; blank if nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{machine.address}:8000/health/", timeout=10) as got:
            return str(got.read().decode())
    except urllib.error.URLError:
        return ""


def cut(machine: Machine) -> None:
    """Let apt reach nothing."""
    proxy = f"http://{machine.address}:1"
    lines = f'Acquire {{ Retries "0"; http::Proxy "{proxy}"; https::Proxy "{proxy}"; }};'
    machine.run(f"echo {shlex.quote(lines)} >{NO_NETWORK}", user="root")


def restore(machine: Machine) -> None:
    machine.run(f"rm {NO_NETWORK}", user="root")


def found(machine: Machine, *paths: str) -> list[str]:
    """Return which of these are there."""
    return machine.run(f"ls -d {' '.join(paths)} 2>/dev/null || true", user="root").split()


def test_added_servers_serve_soon_and_after_a_reboot(
    machines: MakeMachines, site: Inventory, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = machines(1, bare=True)
    place(site.environment, first)
    before = first.run(EVERYTHING, user="root")

    shown = call("recipe", "production", "preview_provision")
    assert "+ apt: python3, which is missing" in shown
    assert "account  deploy: with a home" in shown
    assert first.run(EVERYTHING, user="root") == before

    shown = call("provision", "production", "web1", "--yes")
    assert "+ account deploy" in shown
    assert f"+ folder {SITE}" in shown
    assert "now run manage.py deploy shop/production" in shown
    before = first.run(EVERYTHING, user="root")
    assert "Nothing to change" in call("recipe", "production", "preview_provision")
    assert first.run(EVERYTHING, user="root") == before
    assert "Nothing to change" in call("recipe", "production", "provision")

    call("deploy", "production")
    assert '"status": "ok"' in answer_of(first)
    first.reboot()
    wait_until(lambda: '"status": "ok"' in answer_of(first))

    [second] = machines(1, release="trixie", bare=True)
    monkeypatch.setattr(on_a_command_line, "agrees", lambda question, view: True)
    where = ["--add", second.address, "--port", str(second.port), "--bootstrap-user", "root"]
    site.environment.placements.update(own_bind="")
    Environment.objects.update(bind=f"{second.address}:8000")
    shown = call("provision", "production", "web2", *where, "--yes")
    assert "web2 presents the host key SHA256:" in shown
    assert Server.objects.get(name="web2").host_key == second.host_key
    assert '"status": "ok"' in answer_of(second)
    assert "Nothing to change" in call("recipe", "production", "provision", "--server", "web2")


def test_what_fails_or_is_interrupted_leaves_nothing_half_done(
    machines: MakeMachines, site: Inventory, worker: Worker
) -> None:
    [machine] = machines(1, bare=True)
    place(site.environment, machine)
    cut(machine)
    _code, shown = call_and_fail("recipe", "production", "provision")
    assert "Python could not be installed on web1" in shown
    restore(machine)
    machine.run("apt-get install --yes --no-install-recommends python3", user="root")

    Requirement.objects.create(environment=site.environment, name="psycopg", version="3.2.9")
    shown = call("recipe", "production", "preview_provision")
    assert "+ apt: libpq5 (psycopg needs it)" in shown
    cut(machine)
    _code, shown = call_and_fail("recipe", "production", "provision")
    assert "apt could not install libpq5" in shown
    assert found(machine, "/home/deploy", SITE) == []
    restore(machine)

    ended: list[str] = []
    thread = threading.Thread(
        target=lambda: ended.append(call_and_fail("recipe", "production", "provision")[1])
    )
    thread.start()
    kill = "until pkill -KILL -f '[d]pkg .*--unpack'; do sleep 0.02; done"
    machine.run(kill, user="root")
    thread.join()
    assert "apt could not install libpq5" in ended[0]
    shown = call("recipe", "production", "provision")
    assert "Done: nothing is missing any more" in shown
    assert "ii  libpq5" in machine.run("dpkg -l libpq5", user="root")
    assert machine.run(f"stat -c '%U %a' {SITE} /home/deploy/.ssh/authorized_keys", "root") == (
        "deploy 755\ndeploy 600\n"
    )


def test_an_account_with_sudo_provisions_and_what_sudo_allows_is_enough_and_no_more(
    machines: MakeMachines, site: Inventory, worker: Worker
) -> None:
    [machine] = machines(1, release="trixie", bare=True)
    place(site.environment, machine, bootstrap_user="debian")
    Environment.objects.update(supervisor=Environment.Supervisor.SYSTEMD)
    make = (
        "apt-get install --yes --no-install-recommends python3 sudo"
        " && useradd --create-home --shell /bin/bash --password '*' debian"
        " && cp -r ~/.ssh /home/debian && chown -R debian: /home/debian/.ssh"
    )
    machine.run(make, user="root")
    _code, shown = call_and_fail("recipe", "production", "preview_provision")
    assert "needs sudo without a password" in " ".join(shown.split())
    machine.run("echo 'debian ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/debian", user="root")

    shown = call("recipe", "production", "preview_provision")
    assert "+deploy ALL=(root) NOPASSWD: /usr/bin/systemctl daemon-reload" in shown
    assert "makes deploy as powerful as root" in shown
    call("recipe", "production", "provision")
    path = "/etc/sudoers.d/deploy_manager-shop-production"
    assert machine.run(f"cat {path}", "root") == call("sudoers", "production")
    call("deploy", "production")  # which writes, starts and enables units
    assert '"status": "ok"' in answer_of(machine)
    assert "shop-production" in machine.run("systemctl list-units 'shop-*'")

    refused = (
        "id",
        "systemctl restart ssh",
        "systemctl restart shop-production-web@1.service ssh",
        "systemctl edit shop-production-web@1.service",
        "journalctl",
        "install -m 644 /tmp/x /etc/passwd",
        "install -m 644 /tmp/xshop-production-web@.service"
        " /etc/systemd/system/shop-production-web@.service /etc/systemd/system/ssh.service",
        "rm -f -- /etc/systemd/system/shop-production-web@.service /etc/passwd",
    )
    for command in refused:
        done = machine.run(f"sudo -n {command} 2>&1 || true", "deploy")
        assert "a password is required" in done, command

    Environment.objects.update(supervisor=Environment.Supervisor.SYSTEMD_USER)
    shown = call("recipe", "production", "provision")
    assert f"- {path}: nothing in it is needed any more" in shown
    assert found(machine, path) == []
