"""Whether this machine lets the tests make small disks and networks of their own."""

import functools
import subprocess


@functools.cache
def may_mount() -> bool:
    """Whether disks may be mounted, and network namespaces made: by root, with all its powers.

    Tests that need it are left out elsewhere, and the report's head says so: nothing that could be
    installed would help.
    """
    try:
        command = ["unshare", "--mount", "--net", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
