"""The short form of the chaos: each fault a few times, in a world of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.table import IN_SUITE

TOP = Path(__file__).parent.parent
ALWAYS = ("1", "4", "13")
"""A worker killed, a worker that wakes up late, two managers: the others are tried with --long."""

ROWS = [row if row in ALWAYS else pytest.param(row, marks=pytest.mark.long) for row in IN_SUITE]


@pytest.mark.parametrize("row", ROWS)
def test_what_dies_leaves_the_truth(row: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", row, "--short"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
