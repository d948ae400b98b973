"""The Pythons of servers, as facts for the resolver: its platform options, and markers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import Version

from deploy_manager.drift import markers_of

GLIBC_OF_UV = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
"""The minor versions of glibc 2 for which `uv pip compile` has a platform (uv 0.9)."""

MACHINES_OF_UV = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Target:
    """The facts that decide which files of a package a server can use."""

    python: str
    """The full version, like 3.11.2."""

    implementation: str = "CPython"
    platform: str = ""
    """The value of `sysconfig.get_platform()`, like linux-x86_64."""

    libc: str = ""
    """Like glibc 2.36 or musl 1.2; blank: unknown."""

    @property
    def machine(self) -> str:
        return self.platform.removeprefix("linux-")

    @property
    def uv_platform(self) -> str:
        """The value for `uv pip compile --python-platform`; blank if it has none for it."""
        if not self.platform.startswith("linux-") or self.machine not in MACHINES_OF_UV:
            return ""
        if self.libc.startswith("musl"):
            return f"{self.machine}-unknown-linux-musl"
        found = re.fullmatch(r"glibc 2\.(\d+)", self.libc)
        # The newest that is not newer than the server's own: wheels for it run there.
        known = [minor for minor in GLIBC_OF_UV if found and minor <= int(found.group(1))]
        return f"{self.machine}-manylinux_2_{known[-1]}" if known else ""

    @property
    def markers(self) -> dict[str, str]:
        """The variables of environment markers there (PEP 508)."""
        return dict(markers_of(self.implementation, self.python, self.platform))


def oldest_python(targets: Sequence[Target]) -> str:
    """Return the lowest of the full versions; blank if there are no targets."""
    return min((target.python for target in targets), key=Version, default="")
