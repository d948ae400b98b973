"""Whether this machine lets the tests make small disks, networks and servers of their own."""

import functools
import os
import subprocess

from tests.parts import control_groups


@functools.cache
def may_mount() -> bool:
    """Whether disks may be mounted, and network namespaces made: by root, with all its powers.

    Tests that need it are left out elsewhere, and the report's head says so: nothing that could be
    installed would help.
    """
    return _may_unshare("--mount", "--net")


@functools.cache
def may_boot() -> bool:
    """Whether machines with processes and control groups of their own may be booted, as above."""
    kinds = ("--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup")
    groups = control_groups.hierarchies()
    return (
        bool(groups) and all(os.access(group, os.W_OK) for group in groups) and _may_unshare(*kinds)
    )


def _may_unshare(*kinds: str) -> bool:
    try:
        command = ["unshare", *kinds, "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
