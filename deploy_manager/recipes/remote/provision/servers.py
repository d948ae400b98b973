"""Servers of the system that tiers use: what they load, and that new ones listen nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial

from .changes import Change, Facts, do

ENABLED = "/etc/apache2/mods-enabled"


def look(facts: Facts) -> Iterator[Change]:
    """Yield the modules of Apache that are not switched on."""
    for name in facts["needs"]["modules"]:
        if not os.path.lexists(f"{ENABLED}/{name}.load"):
            yield Change(f"+ Apache's module {name}", partial(enable, name))


def silence(needs: Facts, installed: Sequence[str]) -> None:
    """Have packages that were installed just now listen nowhere, but where a tier says."""
    for package, path in needs["removed"]:
        if package in installed and os.path.lexists(path):
            os.remove(path)
    for package, path, pattern in needs["commented"]:
        if package not in installed:
            continue
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(
                f"# {line}\n" if re.match(pattern, line) else f"{line}\n" for line in lines
            )


def enable(module: str) -> None:
    do("a2enmod", "--quiet", module)
