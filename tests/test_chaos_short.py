"""The short form of the chaos: each fault a few times, in a world of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.table import IN_SUITE

TOP = Path(__file__).parent.parent
FEWER = {"1": 3, "4": 2, "13": 5}
"""How often without --long: a worker killed, one that wakes up late, two managers, no other."""

ROWS = [row if row in FEWER else pytest.param(row, marks=pytest.mark.long) for row in IN_SUITE]


@pytest.mark.parametrize("row", ROWS)
def test_what_dies_leaves_the_truth(row: str, pytestconfig: pytest.Config) -> None:
    count = 0 if pytestconfig.getoption("--long") else FEWER[row]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", row, "--short", "--no-pace", f"--count={count}"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
