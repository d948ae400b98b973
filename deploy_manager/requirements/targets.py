"""The Python of a server, as it reports it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What decides which files of a package fit a server."""

    python: str
    implementation: str = "CPython"
    platform: str = ""
    libc: str = ""

    @property
    def uv_platform(self) -> str:
        return ""
