"""Whether a full set of pins fits together, told by uv for each Python of the servers."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target
from deploy_manager.requirements.uv import BY_THIS_PYTHON, run_uv


def check_fit(pins: Sequence[Pin], targets: Sequence[Target] = (), index_url: str = "") -> None:
    """Raise PinError where these pins contradict each other, or need what is not among them.

    Nothing is chosen: every version stands. What packages need is what the index tells of them;
    `targets` are the different Pythons of the servers (none: the worker's own).
    """
    places = dict.fromkeys(tuple(_options(target)) for target in targets)
    for options in places or {(): None}:
        _check(pins, options, index_url)


def _options(target: Target) -> list[str]:
    platform = [f"--python-platform={target.uv_platform}"] if target.uv_platform else []
    return [f"--python-version={target.python}", *platform]


def _check(pins: Sequence[Pin], options: Sequence[str], index_url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as name:
        wanted, found = Path(name) / "requirements.in", Path(name) / "requirements.txt"
        lines = [f"{replace(pin, hashes=()).requirement}\n" for pin in pins]
        wanted.write_text("".join(lines), encoding="utf-8")
        words = ["pip", "compile", BY_THIS_PYTHON, str(wanted), f"--output-file={found}"]
        how = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
        if reason := run_uv([*words, *how, *options], index_url):
            raise PinError(reason.replace(str(wanted), "the pins"))
        resolved = found.read_text(encoding="utf-8")
    # All pins may have markers that are false there: then nothing was resolved.
    needed = read_pins(resolved) if resolved.strip() else ()
    known = {(pin.name, pin.version) for pin in pins}
    if missing := [pin.requirement for pin in needed if (pin.name, pin.version) not in known]:
        raise PinError(f"They need {', '.join(missing)}, which is not among them.")
