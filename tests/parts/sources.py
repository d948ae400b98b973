"""Packages that exist as source only, whose code tells on whoever runs it."""

from pathlib import Path

from tests.parts.index import Index

_BACKEND = """
import os
with open({marker!r}, "a") as file:
    file.write(" ".join(sorted(os.environ)) + "\\n")
"""
_PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "{name}"
dynamic = ["version", "dependencies"]
"""


def add_trap(
    index: Index,
    name: str,
    version: str,
    marker: Path,
    *,
    declares: tuple[str, ...] | None = None,
) -> None:
    """Offer an sdist whose code writes to `marker` when it is built, or asked what it needs.

    `declares` is what its metadata says that it needs (PEP 643); None: only its code can tell.
    """
    code = _BACKEND.format(marker=str(marker))
    lines = [f"Metadata-Version: {'2.1' if declares is None else '2.2'}"]
    lines += [f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in declares or ()]
    files = {"backend.py": code, "setup.py": code, "pyproject.toml": _PROJECT.format(name=name)}
    metadata = "".join(f"{line}\n" for line in lines)
    index.add(name, version, as_sdist=True, modules={**files, "PKG-INFO": metadata})
