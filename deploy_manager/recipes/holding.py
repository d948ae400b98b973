"""Whether a virtual environment still holds what its pins say: asked of its own Python."""

import json
from collections.abc import Iterator
from importlib.resources import files

from deploy_manager.drift import Markers, Stray, strays_of, wanted_of
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
        said = answer.stderr.strip().rpartition("\n")[2] or "no answer that can be read"
        return [f"its Python does not tell what is installed: {said[:1000]}"]
    return list(_told(strays_of(installed, wanted_of(site.pins, markers))))


def _read(answer: Result) -> tuple[dict[str, str], Markers]:
    """Return versions by name, and the facts of the Python. Raises what no answer raises."""
    # What a module prints when Python starts stands before it.
    facts = json.loads(answer.stdout.strip().rpartition("\n")[2])
    return dict(facts["packages"]), tuple(sorted(facts["markers"].items()))


def _told(strays: list[Stray]) -> Iterator[str]:
    for stray in strays[:MOST_TOLD]:
        is_ = f"is {stray.version}" if stray.version else "is missing"
        should = f"should be {stray.wanted}" if stray.wanted else "should not be there"
        yield f"{stray.name} {is_}, {should}"
    if len(strays) > MOST_TOLD:
        yield f"and {len(strays) - MOST_TOLD} more"
