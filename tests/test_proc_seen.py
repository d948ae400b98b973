"""What /proc says of processes, read by the program that proves a site's processes."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from deploy_manager.recipes.remote.processes import seen


@pytest.fixture
def without_variables() -> Iterator[int]:
    """The number of a process that was started without any."""
    with subprocess.Popen(["/bin/sleep", "60"], env={}) as process:
        while not seen.read(process.pid, "cmdline").startswith(b"/bin/sleep"):
            pass
        yield process.pid
        process.kill()


def test_nobody_waits_for_variables_that_a_process_does_not_have(
    without_variables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has hundreds of such processes, and of those that belong to other accounts."""
    monkeypatch.delattr(time, "sleep")
    assert seen.as_executed(without_variables, "environ") == b""


def test_nobody_waits_for_a_process_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(time, "sleep")
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert seen.as_executed(process.pid, "environ") == b""
