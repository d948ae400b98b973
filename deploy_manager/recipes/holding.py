"""Whether a virtual environment still holds what its pins say: asked of its own Python."""

import json
from collections.abc import Iterator
from importlib.resources import files

from deploy_manager.drift import Deviation, Markers, deviations_of, wanted_of
from deploy_manager.recipes.host import Host, Result, Site

_SUPPOSED = Result(0, "", "")
"""What a dry run is answered."""

MOST_TOLD = 20
"""Packages that the log names; the others are counted."""


def inventory_script() -> bytes:
    """Return what a Python reads from stdin to tell what is installed for it, as JSON."""
    return files("deploy_manager.recipes").joinpath("remote", "inventory.py").read_bytes()


def what_differs(host: Host, site: Site, path: str) -> list[str]:
    """Return a line for each package that is not as it is pinned, or why nobody can say.

    An environment needs no pip to be asked. A site without pins is measured by nothing.
    """
    if not site.pins:
        return []
    ask = [f"{path}/bin/python", "-I", "-X", "utf8", "-"]
    answer = host.run(ask, stdin=inventory_script(), check=False, quiet=True, assume=_SUPPOSED)
    if answer is _SUPPOSED:
        return []
    try:
        installed, markers = _read(answer)
    except (ValueError, KeyError, TypeError, AttributeError):
        last_line = answer.stderr.strip().rpartition("\n")[2] or "no answer that can be read"
        return [f"its Python does not tell what is installed: {last_line[:1000]}"]
    return list(_told(deviations_of(installed, wanted_of(site.pins, markers))))


def _read(answer: Result) -> tuple[dict[str, str], Markers]:
    """Return versions by name, and the facts of the Python. Raises what no answer raises."""
    # What a module prints when Python starts stands before it.
    facts = json.loads(answer.stdout.strip().rpartition("\n")[2])
    return dict(facts["packages"]), tuple(sorted(facts["markers"].items()))


def _told(deviations: list[Deviation]) -> Iterator[str]:
    for deviation in deviations[:MOST_TOLD]:
        is_ = f"is {deviation.version}" if deviation.version else "is missing"
        should = f"should be {deviation.wanted}" if deviation.wanted else "should not be there"
        yield f"{deviation.name} {is_}, {should}"
    if len(deviations) > MOST_TOLD:
        yield f"and {len(deviations) - MOST_TOLD} more"
