"""Running uv, which resolves what no code of ours does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy_manager.exceptions import PinError
from deploy_manager.logs import mask
from deploy_manager.requirements.trust import UV_TRUSTS

TIMEOUT = 120.0
"""Seconds."""

QUIET = ("--quiet", "--color=never", "--no-python-downloads")

BY_THIS_PYTHON = f"--python={sys.executable}"
"""What must be built to learn what it needs is built by the worker's own Python.

Without it uv tries every Python on PATH for one of the version that is resolved for, which takes
longer than all the rest where these are shims.
"""


def run_uv(words: Sequence[str], index_url: str = "", timeout: float = TIMEOUT) -> str:
    """Return why a command of uv failed, in its own words without secrets; blank: it did not.

    `index_url` is told by the environment, since a command line is everybody's to read.
    Raises PinError where uv takes too long, or is not installed.
    """
    index = {"UV_DEFAULT_INDEX": index_url} if index_url else {}
    try:
        done = subprocess.run(
            [_program(), *words, *QUIET],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            env={**UV_TRUSTS, **os.environ, **index},
        )
    except subprocess.TimeoutExpired:
        raise PinError(f"uv found no full set of pins within {timeout:g} s.") from None
    if not done.returncode:
        return ""
    return mask(done.stderr.strip()).decode(errors="replace") or "uv gave no reason."


def _program() -> str:
    """The command, from this interpreter's own environment or from PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("uv", path=os.pathsep.join(folders))
    if found is None:
        raise PinError("uv is not installed here: pip install uv.")
    return found
