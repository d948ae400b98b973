"""`script/test -s tests/benchmark_hosts.py`: our SSH host beside the ssh command, side by side.

Prints medians and ratios; asserts nothing about time.
"""

import statistics
import subprocess
import time
from collections.abc import Callable
from threading import Event

import pytest

from deploy_manager.hosts.opening import open_host
from tests.parts.sshd import Sshd

ROUNDS = 15
TWENTY_MEGABYTES = "yes 0123456789012345678901234567890123456789 | head -c 20000000"


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Print the medians of rounds in turn, after one that nobody counts."""
    rounds = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS + 1)][1:]
    ours_took, theirs_took = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"{name}: ours {ours_took * 1000:.1f} ms, ssh {theirs_took * 1000:.1f} ms,"
        f" ratio {ours_took / theirs_took:.2f}"
    )


@pytest.mark.usefixtures("ssh_settings")
def test_speed_over_ssh(sshd: Sshd) -> None:
    ssh = ["ssh", "-F", "none", "-i", str(sshd.key_file), "-p", str(sshd.port), "-q"]
    ssh += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    ssh += [f"{sshd.user}@{sshd.address}"]

    def run_ssh(command: str) -> None:
        subprocess.run([*ssh, command], check=True, stdout=subprocess.DEVNULL)

    def open_and_run() -> None:
        host = open_host(sshd.address_for("web"), lambda stream, data: None, Event())
        host.run("true")
        host.close()

    host = open_host(sshd.address_for("web"), lambda stream, data: None, Event())
    print()
    compare("connect and run", open_and_run, lambda: run_ssh("true"))
    compare("next command", lambda: host.run("true"), lambda: run_ssh("true"))
    compare(
        "20 MB of output", lambda: host.run(TWENTY_MEGABYTES), lambda: run_ssh(TWENTY_MEGABYTES)
    )
    host.close()
