"""The Pythons that this machine has, of the versions that we support."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = 11, 14
ASK = "import sys; print(sys.version_info[1], getattr(sys, '_base_executable', sys.executable))"


@functools.cache
def pythons() -> dict[int, Path]:
    """Return one program for each minor version that is there, the oldest first."""
    # Where a version manager keeps them, they lie beside the one that runs the tests.
    beside = sorted(Path(sys.base_prefix).parent.glob("3.*/bin/python3"))
    named = [shutil.which(f"python3.{minor}") for minor in range(OLDEST, NEWEST + 1)]
    system = shutil.which("python3", path=os.defpath)
    found: dict[int, Path] = {}
    for program in filter(None, (sys.executable, *named, system, *map(str, beside))):
        done = subprocess.run([program, "-c", ASK], capture_output=True, text=True, check=False)
        minor, _space, path = done.stdout.strip().partition(" ")
        if done.returncode == 0 and OLDEST <= int(minor) <= NEWEST:
            found.setdefault(int(minor), Path(path))
    return dict(sorted(found.items()))


def oldest_and_newest_first() -> list[int]:
    """Return the versions that are there: these two, then those between them."""
    oldest, *others = pythons()
    return [oldest, *others[-1:], *others[:-1]]
