"""`python -m tests.benchmark_wheels`: wheels from the index against wheels from the worker.

Four servers over sshd on loopback, each with a new environment for the demo's pins, side by side.
First time: no cache has anything. Second time: another deployment, whose lock has one pin less: the
servers' uv has its cache, the worker has the wheels and the servers have them, too.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import django
from django.conf import settings

ROUNDS = 3
PINS = Path(__file__).parent.parent / "example_project/sample_site/requirements.txt"
SERVERS = 4
INSTALLER = "uv"


def main() -> None:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        key = make_key(folder / "key")
        settings.configure(INSTALLED_APPS=["deploy_manager"], DEPLOY_MANAGER={"SSH_KEY_FILE": key})
        django.setup()
        index = stack.enter_context(offered(folder / "offered"))
        seconds = measure(folder, key, index)
    for time_, (fetched, shipped) in seconds.items():
        medians = statistics.median(fetched), statistics.median(shipped)
        rounds = " | ".join(" ".join(f"{one:.1f}" for one in each) for each in (fetched, shipped))
        print(f"{time_:6} time: index {medians[0]:.2f} s, shipped {medians[1]:.2f} s   ({rounds})")
        print(f"             shipped / index = {medians[1] / medians[0]:.2f}")


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@contextmanager
def offered(folder: Path) -> Iterator[str]:
    """Yield the URL of an index on loopback that has the demo's pins."""
    from tests.parts.index import Index  # noqa: PLC0415  Django comes first

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    subprocess.run([*command, "--no-deps", "-r", str(PINS)], check=True)
    with Index() as index:
        for file in folder.glob("*.whl"):
            index.offer(file)
        yield index.url


def measure(folder: Path, key: Path, index: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return the seconds of each round: by the index, and shipped."""
    seconds: dict[str, tuple[list[float], list[float]]] = {"first": ([], []), "second": ([], [])}
    for number in range(ROUNDS):
        for place, wheels in enumerate(("index", "shipped")):
            for time_, spent in play(folder / f"{number}-{wheels}", key, index, wheels).items():
                seconds[time_][place].append(spent)
    return seconds


def play(folder: Path, key: Path, index: str, wheels: str) -> dict[str, float]:
    """Install twice on four new servers; return the seconds of each time."""
    from deploy_manager.hosts.opening import open_host  # noqa: PLC0415
    from deploy_manager.recipes import Site  # noqa: PLC0415
    from tests.parts.sshd import running_sshd  # noqa: PLC0415

    site = Site(
        environment="shop/production",
        deploy_path="",
        installer=INSTALLER,
        wheels=wheels,
        index_url=index,
        cache=folder.parent / "tools",
        wheels_cache=folder / "wheels",
    )
    spent = {}
    with ExitStack() as stack:
        sites = []
        for number in range(SERVERS):
            server = stack.enter_context(running_sshd(key))
            host = open_host(server.address_for(f"web{number}"), lambda stream, data: None, Event())
            stack.callback(host.close)
            sites.append((host, replace(site, deploy_path=f"{server.home}/site")))
        for time_, lock in (("first", PINS.read_text()), ("second", less_one(PINS.read_text()))):
            began = time.perf_counter()
            with ThreadPoolExecutor(SERVERS) as pool:
                made = [replace(each, lock=lock, lock_digest=time_) for _host, each in sites]
                list(pool.map(install, (host for host, _site in sites), made, [time_] * SERVERS))
            spent[time_] = time.perf_counter() - began
    return spent


def less_one(lock: str) -> str:
    """Return a lock without the last package."""
    from deploy_manager.requirements.pins import lock_text  # noqa: PLC0415
    from deploy_manager.requirements.reading import read_pins  # noqa: PLC0415

    return lock_text(read_pins(lock)[:-1])


def install(host: object, site: object, release: str) -> None:
    from deploy_manager.recipes import get_recipe  # noqa: PLC0415

    here = replace(site, release=release)  # type: ignore[type-var]
    host.run(["mkdir", "-p", here.release_path])  # type: ignore[attr-defined]
    for name in ("make_virtualenv", "install_requirements"):
        recipe = get_recipe(name).function
        recipe(host, here)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
