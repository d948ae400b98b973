"""Check with uv that a full set of pins fits together, for each Python of the servers."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.compiling import Compiler, Source, describe
from deploy_manager.requirements.declared import declared_by
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target


def check_fit(pins: Sequence[Pin], targets: Sequence[Target] = (), index_url: str = "") -> None:
    """Raise PinError if these pins conflict, or need packages that are not among them.

    No version is chosen. Dependencies are taken from the index, or for a package that exists as
    source only from what that declares. `targets` are the different Pythons of the servers (none:
    the worker's own).
    """
    # What a commit needs is unknown until it is built.
    elsewhere = {pin.name for pin in pins if pin.url}
    pins = [pin for pin in pins if not pin.url]
    pythons: dict[tuple[str, ...], str] = {}
    for target in targets:
        platform = [f"--python-platform={target.uv_platform}"] if target.uv_platform else []
        pythons[f"--python-version={target.python}", *platform] = describe(target)
    for options, python in (pythons or {(): ""}).items():
        _check(pins, options, index_url, [python] if python else [], elsewhere)


def _check(
    pins: Sequence[Pin],
    options: Sequence[str],
    index_url: str,
    pythons: Sequence[str],
    elsewhere: Collection[str],
) -> None:
    def find_source(name: str) -> Source | None:
        found = [pin for pin in pins if pin.name == name]
        if len(found) != 1:
            return None
        version = found[0].version
        return Source(version, declared_by(name, version, found[0].hashes, index_url))

    how = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    compiler = Compiler(
        [*how, *options],
        index_url,
        find_source=find_source,
        pythons=pythons,
        elsewhere=elsewhere,
    )
    text = "".join(f"{replace(pin, hashes=()).requirement}\n" for pin in pins)
    resolved = compiler.compile(lambda: text, "")
    # If the markers of all pins are false on this Python, nothing was resolved.
    needed = read_pins(resolved) if resolved.strip() else ()
    known = {(pin.name, pin.version) for pin in pins}
    if missing := [pin.requirement for pin in needed if (pin.name, pin.version) not in known]:
        raise PinError(
            _("They need %(missing)s, which is not among them."), missing=", ".join(missing)
        )
