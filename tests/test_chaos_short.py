"""The short form of the chaos: each fault a few times, in a world of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.table import IN_SUITE

TOP = Path(__file__).parent.parent


@pytest.mark.parametrize("row", IN_SUITE)
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
