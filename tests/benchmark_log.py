"""`script/test -s tests/benchmark_log.py`: a million lines of 16 servers at once, into the rows.

They are read back and compared byte by byte. Prints how fast that was beside `ssh host cat` of the
same files at the same time, with nothing stored at all, and how fast the pages are that show the
end of the log and search it; asserts nothing about time.
"""

import hashlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, LogChunk, Placement, Server, State
from deploy_manager.recipes import Host, Site, recipe
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import url, visitor
from tests.parts.sshd import Sshd

pytestmark = [pytest.mark.usefixtures("ssh_settings"), pytest.mark.django_db(transaction=True)]

SERVERS = 16
LINES = 1_000_000


@pytest.fixture
def inventory(sshd: Sshd, db: None) -> Inventory:
    """Sixteen servers, each with a file of its own in its deploy path."""
    made = make_inventory(sshd.home)
    for number in range(SERVERS):
        server = Server.objects.create(
            name=f"web{number}",
            address=sshd.address,
            port=sshd.port,
            user=sshd.user,
            host_key=sshd.host_key,
        )
        path = sshd.home / f"web{number}"
        Placement.objects.create(
            environment=made.environment,
            server=server,
            order=number + 1,
            own_deploy_path=str(path),
        )
        subprocess.run(["install", "-d", "-o", sshd.user, path], check=True)
        write_lines(path / "printed", number)
    return made


def write_lines(path: Path, number: int) -> None:
    with path.open("w") as file:
        file.writelines(
            f"{line:07d} server {number:02d} é prints this and means it\n"
            for line in range(LINES // SERVERS)
        )


def stored(deployment: Deployment, name: str) -> Iterator[bytes]:
    chunks = LogChunk.objects.filter(
        deployment=deployment, host_run__server_name=name, stream=LogChunk.Stream.STDOUT
    )
    for data in chunks.order_by("sequence").values_list("data", flat=True).iterator(chunk_size=50):
        yield bytes(data)


def digest(pieces: Iterator[bytes]) -> str:
    whole = hashlib.sha256()
    for piece in pieces:
        whole.update(piece)
    return whole.hexdigest()


def cat_by_ssh(sshd: Sshd, paths: list[Path]) -> None:
    ssh = ["ssh", "-F", "none", "-i", str(sshd.key_file), "-p", str(sshd.port), "-q"]
    ssh += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    ssh += [f"{sshd.user}@{sshd.address}"]
    with_nothing = {"check": True, "stdout": subprocess.DEVNULL}
    threads = [
        threading.Thread(target=subprocess.run, args=([*ssh, f"cat {path}"],), kwargs=with_nothing)
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_million_lines_come_back_exactly(
    inventory: Inventory, own_recipes: None, sshd: Sshd
) -> None:
    @recipe("Print it")
    def print_it(host: Host, site: Site) -> None:
        host.run(["cat", f"{site.deploy_path}/printed"])

    paths = [sshd.home / f"web{number}" / "printed" for number in range(SERVERS)]
    size = sum(path.stat().st_size for path in paths)
    deployment = inventory.request("print_it")
    began = time.perf_counter()
    run(deployment.pk)
    ours = time.perf_counter() - began
    deployment.refresh_from_db()
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    for path in paths:
        assert digest(stored(deployment, path.parent.name)) == digest(iter([path.read_bytes()]))
    began = time.perf_counter()
    cat_by_ssh(sshd, paths)
    theirs = time.perf_counter() - began
    print(
        f"\n{LINES} lines, {size / 1e6:.0f} MB, {SERVERS} servers: stored and read back exactly;"
        f" ours {ours:.1f} s ({size / ours / 1e6:.1f} MB/s),"
        f" ssh cat {theirs:.1f} s ({size / theirs / 1e6:.1f} MB/s), ratio {ours / theirs:.2f}"
    )
    tell_pages(deployment)


def tell_pages(deployment: Deployment) -> None:
    viewer = visitor("owner")
    last = f"{LINES // SERVERS - 1:07d} server 15"
    for title, address in {
        "opens": url("deployment_change", deployment.pk),
        "finds its last line": url("deployment_search", deployment.pk, q=last),
        "finds what many lines have": url("deployment_search", deployment.pk, q="means it"),
    }.items():
        took, worked = [], []
        for _run in range(3):
            began, began_work = time.perf_counter(), time.process_time()
            assert viewer.get(address).status_code == 200
            took.append((time.perf_counter() - began) * 1000)
            worked.append((time.process_time() - began_work) * 1000)
        print(f"a page {title}: {median(took):.0f} ms ({median(worked):.0f} of processor)")
