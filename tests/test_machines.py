"""Debian servers of the tests: real ones that boot, let our accounts in, lose power, and go."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.models import Placement, Server
from tests.commands import Worker, call
from tests.inventory import Inventory
from tests.parts import control_groups, debian
from tests.parts.debian import Recipe, base_of
from tests.parts.guards import Place
from tests.parts.guestbook import make_site
from tests.parts.hosts import OpenAddress
from tests.parts.machines import Machine, MakeMachines, Pool, clear_left_behind
from tests.parts.matrices import few
from tests.parts.repository import Repository
from tests.parts.served import wait_until

pytestmark = pytest.mark.machines

UNIT = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo started >>{told}'
ExecStop=/bin/sh -c 'echo stopped >>{told}'
[Install]
WantedBy={target}
"""
OF_THE_SYSTEM = "/var/lib/of-the-system"
OF_THE_USER = "/home/deploy/of-the-user"


def write_units(machine: Machine) -> None:
    """Enable and start a unit of the system and one of the account, which write what they do."""
    text = UNIT.format(told=OF_THE_SYSTEM, target="multi-user.target")
    machine.run(f"cat >/etc/systemd/system/told.service <<'END'\n{text}\nEND", user="root")
    machine.run("systemctl enable --now told", user="root")
    text = UNIT.format(told=OF_THE_USER, target="default.target")
    folder = ".config/systemd/user"
    machine.run(f"mkdir -p {folder} && cat >{folder}/told.service <<'END'\n{text}\nEND")
    machine.run("systemctl --user enable --now told")


def told(machine: Machine) -> list[list[str]]:
    """Return what each of the two units has done so far."""
    return [machine.run(f"cat {file}").split() for file in (OF_THE_SYSTEM, OF_THE_USER)]


def left_of(name: str, folder: Path) -> list[str]:
    """Return what of a machine is still there."""
    found = [f"process {pid}" for pid in control_groups.processes(name)]
    found += [str(each / name) for each in control_groups.hierarchies() if (each / name).exists()]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if str(folder) in line]
    return [*found, str(folder)] if folder.exists() else found


@pytest.mark.parametrize("release", few(*debian.RELEASES))
def test_it_boots_with_systemd_and_an_account_that_may_do_all(
    machines: MakeMachines, release: str
) -> None:
    machine = machines(1, release=release)[0]
    assert machine.run("cat /proc/1/comm").strip() == "systemd"
    assert machine.run("systemctl is-system-running --wait").strip() == "running"
    assert f"VERSION_CODENAME={release}\n" in machine.run("cat /etc/os-release")
    assert machine.run("id -un; sudo -n id -un; hostname").split() == [
        *("deploy", "root"),
        machine.name,
    ]
    assert machine.run("systemctl --user is-system-running --wait").strip() == "running"
    machine.left_no_trace = True


@pytest.mark.long
def test_packages_are_installed_as_they_are_here(machine: Machine) -> None:
    machine.run("apt-get update && apt-get install --yes --no-install-recommends tree", user="root")
    assert machine.run("tree --version")


def test_our_own_hosts_log_in_and_run_commands(machine: Machine, open_address: OpenAddress) -> None:
    opened = open_address(machine.address_for("web1"))
    assert opened.host.run("id -un").stdout == "deploy\n"
    held = Place(machine.address_for("web1"), Path(machine.home / "site")).open()
    assert held.host.run(["hostname"]).stdout == f"{machine.name}\n"
    held.host.close()


def test_units_and_what_was_written_come_back_after_a_power_cycle(machine: Machine) -> None:
    write_units(machine)
    before = machine.boot_id
    machine.power_cycle()
    assert machine.boot_id != before
    wait_until(lambda: told(machine) == [["started", "started"]] * 2)


def test_a_reboot_stops_units_first(machine: Machine) -> None:
    write_units(machine)
    before = machine.boot_id
    machine.reboot()
    assert machine.boot_id != before
    wait_until(lambda: told(machine) == [["started", "stopped", "started"]] * 2)
    machine.power_off()
    assert not machine.is_on
    assert control_groups.processes(machine.name) == []


def test_two_machines_do_not_disturb_each_other(machines: MakeMachines) -> None:
    one, two = machines(2)
    assert one.host_key != two.host_key
    for machine in (one, two):
        write_units(machine)
    boot = two.boot_id

    one.run("systemctl stop told", user="root")
    one.run("touch /etc/only-here", user="root")
    one.power_off()

    assert told(two) == [["started"]] * 2
    assert two.run("systemctl is-active told").strip() == "active"
    assert two.run("ls /etc/only-here || echo none", user="root").strip() == "none"
    assert two.boot_id == boot


def test_a_machine_is_given_again_only_if_the_test_left_no_trace(ssh_key: Path) -> None:
    pool = Pool(ssh_key)
    try:
        first = pool.take(1, "bookworm")[0]
        first.left_no_trace = True
        pool.give_back(first)
        again = pool.take(1, "bookworm")[0]
        assert again is first

        pool.give_back(again)
        assert left_of(first.name, first.folder) == []
        last = pool.take(1, "bookworm")[0]
        assert last is not first
    finally:
        pool.end()
    assert left_of(last.name, last.folder) == []


OTHER_RUN = """
import os
from pathlib import Path
import pytest
from tests.parts.sshd import make_key

@pytest.fixture(scope="session")
def ssh_key(tmp_path_factory):
    return make_key(tmp_path_factory.mktemp("key") / "client")

def test_it(machine):
    Path("seen").write_text(f"{machine.name} {machine.folder}")
    END
"""


def run_elsewhere(folder: Path, end: str) -> tuple[int, tuple[str, Path]]:
    """Run a test that ends so in a process of its own; return its exit code and its machine."""
    (folder / "test_it.py").write_text(OTHER_RUN.replace("END", end))
    options = ["-p", "tests.parts.machines", "-p", "no:cacheprovider", "-c", os.devnull]
    options += [f"--rootdir={folder}", f"--basetemp={folder / 'temporary'}"]
    code = subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        check=False,
    ).returncode
    name, path = (folder / "seen").read_text().split()
    return code, (name, Path(path))


def test_nothing_is_left_of_a_run_that_failed(tmp_path: Path) -> None:
    code, seen = run_elsewhere(tmp_path, "assert False")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert left_of(*seen) == []


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    code, (name, folder) = run_elsewhere(tmp_path, "os.kill(os.getpid(), 9)")
    assert code == -signal.SIGKILL
    assert folder.exists()
    clear_left_behind()
    assert left_of(name, folder) == []


def test_a_base_system_is_made_once_and_goes_when_nobody_uses_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []

    def make(recipe: Recipe, folder: Path) -> None:
        made.append(recipe.name)
        time.sleep(0.2)
        folder.mkdir()

    monkeypatch.setenv("TEST_MACHINES", str(tmp_path))
    monkeypatch.setattr(debian, "_make", make)
    recipe = Recipe("bookworm", {})
    threads = [threading.Thread(target=base_of, args=(recipe,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [recipe.name]

    os.utime(tmp_path / "bases" / f"{recipe.name}.lock", (0, 0))
    other = base_of(Recipe("bookworm", {"/etc/more": b""}))
    assert other.is_dir()
    assert not other.with_name(recipe.name).exists()


@pytest.fixture
def production(
    machine: Machine,
    guestbook: Repository,
    ssh_settings: Settings,
    tmp_path: Path,
    transactional_db: None,
) -> Inventory:
    """`shop/production` on a machine, with our own gunicorn."""
    made = make_site(tmp_path, guestbook, Path(machine.home / "guestbook.sqlite3"))
    server = Server.objects.create(
        name="web1",
        address=machine.address,
        port=machine.port,
        user=machine.user,
        host_key=machine.host_key,
    )
    Placement.objects.create(
        environment=made.environment,
        server=server,
        own_deploy_path=str(machine.home / "site"),
        own_bind=f"{machine.address}:8000",
    )
    return made


def answer(inventory: Inventory) -> str:
    """Return what the site says of itself; blank if nobody listens."""
    bind = inventory.environment.placements.get().bind
    try:
        with urllib.request.urlopen(f"http://{bind}/health/", timeout=10) as response:
            text: str = response.read().decode()
            return text
    except urllib.error.URLError:
        return ""


@pytest.mark.django_db(transaction=True)
def test_after_a_power_cycle_nothing_starts_our_own_gunicorn_again(
    production: Inventory, machine: Machine, guestbook: Repository, worker: Worker
) -> None:
    call("deploy", "production")
    assert guestbook.head in answer(production)

    machine.power_cycle()

    machine.run("systemctl is-system-running --wait")
    assert machine.run(f"readlink {machine.home}/site/current").startswith("releases/")
    assert answer(production) == ""
