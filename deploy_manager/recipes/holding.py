"""Comparing a virtual environment with its pins, by asking its own Python."""

import json
from collections.abc import Iterator
from importlib.resources import files

from deploy_manager.drift import Deviation, deviations_of, wanted_of
from deploy_manager.recipes.host import Host, Result, Site

_SUPPOSED = Result(0, "", "")
"""The answer that a dry run assumes."""

MOST_SHOWN = 20
"""Packages named in the log; the others are only counted."""


def inventory_script() -> bytes:
    """Return the script that prints the installed packages of a Python as JSON."""
    return files("deploy_manager.recipes").joinpath("remote", "inventory.py").read_bytes()


def what_differs(host: Host, site: Site, path: str) -> list[str]:
    """Return a line for each package that differs from its pin, or why that can't be known.

    Works without pip in the environment. A site without pins has no differences.
    """
    if not site.pins:
        return []
    ask = [f"{path}/bin/python", "-I", "-X", "utf8", "-"]
    answer = host.run(ask, stdin=inventory_script(), check=False, quiet=True, assume=_SUPPOSED)
    # A dry run, which has asked nobody.
    if answer is _SUPPOSED:
        return []
    try:
        # A .pth file may print something when Python starts: the answer is the last line.
        facts = json.loads(answer.stdout.strip().rpartition("\n")[2])
        installed, markers = dict(facts["packages"]), tuple(sorted(facts["markers"].items()))
    except (ValueError, KeyError, TypeError, AttributeError):
        last_line = answer.stderr.strip().rpartition("\n")[2] or "no answer that can be read"
        return [f"its Python does not report what is installed: {last_line[:1000]}"]
    return list(_describe(deviations_of(installed, wanted_of(site.pins, markers))))


def _describe(deviations: list[Deviation]) -> Iterator[str]:
    for deviation in deviations[:MOST_SHOWN]:
        is_ = f"is {deviation.version}" if deviation.version else "is missing"
        should = f"should be {deviation.wanted}" if deviation.wanted else "should not be there"
        yield f"{deviation.name} {is_}, {should}"
    if len(deviations) > MOST_SHOWN:
        yield f"and {len(deviations) - MOST_SHOWN} more"
