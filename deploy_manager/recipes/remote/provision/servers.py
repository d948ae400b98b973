"""Servers of the system that tiers use: what they load, and that new ones listen nowhere."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from functools import partial

from .changes import Change, Facts, do

ENABLED = "/etc/apache2/mods-enabled"


def look(facts: Facts) -> Iterator[Change]:
    """Yield the modules of Apache that are not switched on."""
    for name in facts["needs"]["modules"]:
        if not os.path.lexists(f"{ENABLED}/{name}.load"):
            yield Change(f"+ Apache's module {name}", partial(enable, name))


def silencing(needs: Facts) -> Facts:
    """Return what `silence` has to do; call it before anything is installed.

    Files that are there already are somebody's own.
    """
    places = [path for _package, path in needs["removed"]]
    changes = [(*each, None) for each in needs["commented"]] + list(needs["replaced"])
    lines = [(place, pattern, line) for _package, place, pattern, line in changes]
    kept = {path for place in [*places, *(each[0] for each in lines)] for path in glob.glob(place)}
    return {"removed": places, "lines": lines, "kept": sorted(kept)}


def silence(work: Facts) -> None:
    """Have packages that were installed just now listen nowhere, but where a tier says."""
    for path in work["removed"]:
        if path not in work["kept"] and os.path.lexists(path):
            os.remove(path)
    for place, pattern, line in work["lines"]:
        for path in glob.glob(place):
            if path not in work["kept"]:
                replace_lines(path, pattern, line)


def replace_lines(path: str, pattern: str, new: str | None) -> None:
    """Put a line in the place of those that begin with a pattern; None: make them comments."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            changed = f"# {line}" if new is None else new
            file.write(f"{changed if re.match(pattern, line) else line}\n")


def enable(module: str) -> None:
    do("a2enmod", "--quiet", module)
