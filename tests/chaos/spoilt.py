"""Servers and projects that are broken: full disks, bad packages, failing migrations and sites."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from deploy_manager import dispatch
from deploy_manager.models import Deployment, Environment, State
from tests.chaos.judging import demand_free_locks
from tests.chaos.small_index import PACKAGE, Server, serving
from tests.chaos.world import World
from tests.parts.repository import Repository

DISK = 120 * 2**20
MANAGE = """
import os, sys
if "migrate" in sys.argv and "--plan" not in sys.argv and os.path.exists(os.environ["FAILS"]):
    sys.exit("no such table: shop_basket")
import chaosdep
print(sys.argv[1], chaosdep.VERSION)
"""


@dataclass
class Shop:
    """A site on a small disk, its repository, and the server of its packages and pages."""

    environment: Environment
    path: Path
    repository: Repository
    server: Server
    world: World

    def deploy(self, pin: str = "") -> Deployment:
        """Commit a new version with a new package, and deploy it; return how it ended."""
        self.server.newest += 1
        pin = pin or f"{PACKAGE}==1.{self.server.newest}"
        files = {"manage.py": MANAGE, "requirements.txt": f"{pin}\n"}
        self.repository.commit(f"Version {self.server.newest}", files)
        deployment = dispatch.request(self.environment, source="manage.py", requested_by_name="me")
        self.world.wait_for_ends([deployment], 60)
        deployment.refresh_from_db()
        return deployment

    @property
    def current(self) -> str:
        link = self.path / "current"
        return link.readlink().name if link.is_symlink() else ""

    @property
    def balloon(self) -> Path:
        return self.path / "balloon"


def servers_spoilt(world: World, count: int) -> str:
    """One way after the other; after each the next deployment has to work unaided."""
    world.start_worker().wait()
    server = world.at_end.enter_context(serving())
    shop = make_shop(world, server)
    first = shop.deploy()
    world.demand(
        first.state == State.SUCCEEDED, f"the first deployment {first.state}: {why(first)}"
    )
    failed = unharmed = 0
    for number in range(count):
        name = list(WAYS)[number % len(WAYS)]
        before = shop.current
        pin, mend = WAYS[name](shop)
        try:
            spoilt = shop.deploy(pin)
        finally:
            mend()
        failed += judge_spoilt(world, shop, name, spoilt, before)
        demand_free_locks(world, [spoilt])
        after = shop.deploy()
        is_well = after.state == State.SUCCEEDED and shop.current == name_of(after)
        world.demand(is_well, f"after {name}: the next one {after.state}: {why(after)}")
        unharmed += is_well
    world.end_workers()
    return f"{failed} of {count} failed and were told why; {unharmed} of {count} worked afterwards"


def judge_spoilt(world: World, shop: Shop, name: str, spoilt: Deployment, before: str) -> bool:
    """Demand a clear failure that changed nothing; a disk may have sufficed."""
    if name in MAY_SUFFICE and spoilt.state == State.SUCCEEDED:
        world.demand(shop.current == name_of(spoilt), f"{name}: succeeded, serves {shop.current}")
        return False
    states = (State.FAILED, State.PARTLY_FAILED, State.ROLLED_BACK)
    world.demand(spoilt.state in states, f"{name}: {spoilt.state}, {why(spoilt)}")
    world.demand(bool(why(spoilt)), f"{name}: nobody is told why")
    world.demand("Traceback" not in why(spoilt), f"{name}: {why(spoilt)}")
    world.demand(
        shop.current == before,
        f"{name}: serves {shop.current}, not {before} as before: {why(spoilt)}",
    )
    return spoilt.state in states


def why(deployment: Deployment) -> str:
    return "; ".join(run.message for run in deployment.host_runs.all()) or deployment.message


def name_of(deployment: Deployment) -> str:
    return deployment.release.name if deployment.release else ""


def make_shop(world: World, server: Server) -> Shop:
    """Make a site on a disk of its own."""
    path = world.folder / "disk"
    path.mkdir()
    size = f"size={DISK}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], check=True)
    world.at_end.callback(unmount, path)
    repository = Repository.make(world.folder / "shop")
    environment = world.make_site(0, FAILS=str(path / "fails"))
    environment.project.repository = str(repository.path)
    environment.project.save()
    environment.index_url = f"http://{server.place}/simple/"
    environment.installer = Environment.Installer.PIP
    environment.bind, environment.health_path = server.place, "/health/"
    environment.health_deadline = 2
    environment.rollback_on_failure = True
    environment.keep_releases = 2
    environment.save()
    placement = world.add_server(environment, f"{environment.name}-0")
    placement.own_deploy_path = str(path)
    placement.save()
    return Shop(environment, path, repository, server, world)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "-l", path], check=True)


# -- ways to spoil it: each returns the pin to ask for (blank: a good one) and how to mend it

Spoilt = tuple[str, Callable[[], None]]


def fill_disk(shop: Shop) -> Spoilt:
    """Leave so little room that it ends at some step, another one each time."""
    free = os.statvfs(shop.path).f_bavail * os.statvfs(shop.path).f_frsize
    left = shop.world.dice.choice((0, 16, 64, 256, 1024, 4096, 8192)) * 1024
    left = int(left * shop.world.dice.uniform(0.5, 1.0))
    with shop.balloon.open("wb") as balloon, contextlib.suppress(OSError):
        os.posix_fallocate(balloon.fileno(), 0, max(free - left, 1))
    return "", shop.balloon.unlink


def make_read_only(shop: Shop) -> Spoilt:
    remount(shop.path, "ro")
    return "", lambda: remount(shop.path, "rw")


def make_read_only_later(shop: Shop) -> Spoilt:
    """While it is at work, as a disk does that breaks."""
    over = Event()
    moment = shop.world.dice.uniform(0.2, 3.0)

    def wait_and_remount() -> None:
        if not over.wait(moment):
            remount(shop.path, "ro")

    thread = Thread(target=wait_and_remount)
    thread.start()

    def mend() -> None:
        over.set()
        thread.join()
        remount(shop.path, "rw")

    return "", mend


def remount(path: Path, mode: str) -> None:
    """Remount by force, though files are open: `mount` refuses that for tmpfs at times."""
    for _ in range(50):
        done = subprocess.run(["mount", "-o", f"remount,{mode}", path], capture_output=True)
        if done.returncode == 0:
            return
        time.sleep(0.02)


def kill_pip(shop: Shop) -> Spoilt:
    """As soon as pip is at work on the site's environment."""
    shop.server.waits = 1.0
    over = Event()

    def watch_and_kill() -> None:
        while not over.wait(0.05):
            for pid in processes_of(f"{shop.path}/", "pip", "install"):
                os.kill(pid, signal.SIGKILL)

    thread = Thread(target=watch_and_kill)
    thread.start()

    def mend() -> None:
        over.set()
        thread.join()
        shop.server.waits = 0.0

    return "", mend


def processes_of(*words: str) -> list[int]:
    """The processes of this site with these words in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if all(word in line for word in words) and not line.startswith("/bin/sh"):
                found.append(int(file.parent.name))
    return found


def corrupt_wheel(shop: Shop) -> Spoilt:
    shop.server.is_corrupt = True
    return "", lambda: setattr(shop.server, "is_corrupt", False)


def unknown_package(shop: Shop) -> Spoilt:
    return "chaosmissing==1.0", lambda: None


def fail_migrate(shop: Shop) -> Spoilt:
    (shop.path / "fails").touch()
    return "", (shop.path / "fails").unlink


def answer(how: str) -> Callable[[Shop], Spoilt]:
    def spoil(shop: Shop) -> Spoilt:
        shop.server.health = how
        return "", lambda: setattr(shop.server, "health", "well")

    return spoil


WAYS: dict[str, Callable[[Shop], Spoilt]] = {
    "disk full": fill_disk,
    "migrate fails": fail_migrate,
    "health check 500": answer("500"),
    "pip killed": kill_pip,
    "read-only": make_read_only,
    "corrupt wheel": corrupt_wheel,
    "unknown package": unknown_package,
    "health check hangs": answer("hangs"),
    "health check redirects": answer("redirects"),
    "read-only in the middle": make_read_only_later,
}
MAY_SUFFICE = ("disk full", "read-only in the middle")
