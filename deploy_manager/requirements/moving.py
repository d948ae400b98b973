"""From one full lock and a request to the next full lock, resolved by uv.

uv is asked twice. First how far the requests go when all else may move with them; then for exactly
those versions with everything else where it is, unless it must move: the old lock is uv's own
output file, whose pins it prefers. What must move goes no lower, and no further than it has to fit.

A pin that exists as source only stays by what its source declares. Where that declares nothing, it
is not known what it needs: then no pin goes, and whether all fit is proved where it is installed,
by `pip check`, before anything serves.
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from pip_requirements_parser import RequirementsFile

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.compiling import FULL, Compiler, NoSolutionError, Source, describe
from deploy_manager.requirements.cooldown import cooldown_options
from deploy_manager.requirements.declared import declared_by, sources_of
from deploy_manager.requirements.index_facts import IndexProblem, PackageFacts, look_up_many
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins, lock_text
from deploy_manager.requirements.reach import (
    PinRequest,
    Reach,
    no_lower,
    within_major,
    within_minor,
)
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.targets import Target, oldest_python
from deploy_manager.requirements.uv import TIMEOUT

ASKED_FOR = "asked for"
NO_LONGER_NEEDED = "no longer needed"


@dataclass(frozen=True)
class PinMove:
    """A package whose version becomes another, and why; blank where it was, or will be, absent."""

    name: str
    before: str
    after: str
    why: str


@dataclass(frozen=True)
class Moved:
    """The pins to come, whole, and what is different in them."""

    pins: tuple[Pin, ...]
    moves: tuple[PinMove, ...]


def move_pins(
    lock: str,
    requests: Sequence[PinRequest],
    *,
    targets: Sequence[Target] = (),
    index_url: str = "",
    before: datetime | None = None,
    exempt: Collection[str] = (),
    timeout: float = TIMEOUT,
) -> Moved:
    """Return the lock that fulfils the requests and moves as little else as can be.

    `targets` are the different Pythons of the servers (none: the worker's own). With `before`, no
    version is taken that was uploaded later, but for the packages that are `exempt`. Raises
    PinError for a package that is not in the lock, and where there is no solution: in uv's words.
    """
    pins = read_pins(lock, "the lock")
    wanted = {request.name: request for request in requests}
    if unknown := sorted(wanted.keys() - {pin.name for pin in pins}):
        raise PinError(f"{', '.join(unknown)} is not among the pins.")
    options = [*FULL, *_target_options(pins, targets)]
    options += cooldown_options(pins, index_url, before, exempt)
    specifiers = _specifiers(pins, wanted)
    resolver = _Resolver(pins, wanted, options, targets, index_url, timeout)
    if any(request.reach is not Reach.EXACT for request in requests):
        furthest = read_pins(resolver.resolve(specifiers, ["--upgrade"]), "the furthest pins")
        specifiers = {pin.name: f"=={pin.version}" for pin in furthest if pin.name in wanted}
    resolved = resolver.resolve(specifiers, [f"-P{name}" for name in wanted])
    after = read_pins(resolved, "the new lock")
    if resolver.keeps_all:
        # All were asked for by name: who needs them is not told by that.
        direct = {pin.name: pin.direct for pin in pins}
        after = tuple(replace(pin, direct=direct.get(pin.name, pin.direct)) for pin in after)
    _check_targets(after, targets)
    return Moved(after, _moves(compare_pins(pins, after), wanted, _needed_by(resolved)))


def _target_options(pins: Sequence[Pin], targets: Sequence[Target]) -> list[str]:
    """One Python is resolved for exactly; several, or a lock with markers, for all from the oldest.

    A lock that was made for several platforms stays one: its repository may need it elsewhere.
    """
    python = oldest_python(targets)
    options = [f"--python-version={python}"] if python else []
    platforms = {target.uv_platform for target in targets}
    pythons = {target.python for target in targets}
    has_markers = any(pin.marker for pin in pins)
    if has_markers or len(pythons) != 1 or len(platforms) != 1 or "" in platforms:
        return [*options, "--universal", "--fork-strategy=fewest"]
    return [*options, f"--python-platform={platforms.pop()}"]


def _specifiers(pins: Sequence[Pin], wanted: dict[str, PinRequest]) -> dict[str, str]:
    return {p.name: wanted[p.name].specifier(p.version) for p in pins if p.name in wanted}


class _Resolver:
    """Runs uv for one lock, of which what exists as source only stays if it can't be told anew."""

    def __init__(
        self,
        pins: Sequence[Pin],
        wanted: Mapping[str, PinRequest],
        options: Sequence[str],
        targets: Sequence[Target],
        index_url: str,
        timeout: float,
    ) -> None:
        self._pins, self._wanted, self._index_url = pins, wanted, index_url
        self._compiler = Compiler(
            options, index_url, timeout, self._find_source, [*map(describe, targets)]
        )

    def resolve(self, specifiers: Mapping[str, str], options: Sequence[str]) -> str:
        """Return the text that uv makes of the old lock. Raises PinError."""
        try:
            resolved = self._compile(specifiers, options)
            if self._hold_what_has_no_wheel(resolved):
                resolved = self._compile(specifiers, options)
        except NoSolutionError as error:
            raise PinError(_explain(str(error), self._wanted)) from None
        return resolved

    @property
    def keeps_all(self) -> bool:
        """Whether there is a package of which nobody can tell what it needs: so nothing goes."""
        return any(one.declared is None for one in self._compiler.sources.values())

    def _compile(self, specifiers: Mapping[str, str], options: Sequence[str]) -> str:
        bounds, lock = "".join(_bounds(self._pins, self._wanted)), lock_text(self._pins)
        return self._compiler.compile(lambda: self._asked(specifiers), bounds, lock, options)

    def _asked(self, specifiers: Mapping[str, str]) -> str:
        """The lines of what must be installed: what the project asks for and what is wished for."""
        return "".join(
            f"{_named(pin)}{specifiers.get(pin.name, '')}{f' ; {pin.marker}' * bool(pin.marker)}\n"
            for pin in self._pins
            if pin.direct or pin.name in specifiers or self.keeps_all
        )

    def _find_source(self, name: str) -> Source | None:
        """Where a package may stay at its version it does, else it goes as far as it is told."""
        pinned = [pin for pin in self._pins if pin.name == name]
        request = self._wanted.get(name)
        if len(pinned) == 1 and (not request or _may_stay(pinned[0], request)):
            pin = pinned[0]
            return Source(pin.version, declared_by(name, pin.version, pin.hashes, self._index_url))
        reach = request.specifier(pinned[0].version) if request and pinned else ""
        for version in sources_of(name, SpecifierSet(reach), self._index_url)[:1]:
            declared = declared_by(name, version, (), self._index_url)
            return Source(version, declared) if declared else None
        return None

    def _hold_what_has_no_wheel(self, resolved: str) -> bool:
        """Have pins stay that moved only because they exist as source; False: there were none."""
        free = [
            change
            for change in compare_pins(self._pins, read_pins(resolved, "the new lock"))
            if change.before and change.after
            if change.name not in self._wanted and change.name not in self._compiler.sources
        ]
        facts = look_up_many([one.name for one in free], self._index_url) if free else {}
        held = {
            change.name: source
            for change in free
            if _is_source(facts.get(change.name), change.before)
            if (source := self._find_source(change.name))
        }
        self._compiler.sources |= held
        return bool(held)


def _is_source(facts: PackageFacts | IndexProblem | None, version: str) -> bool:
    about = facts.of(version) if isinstance(facts, PackageFacts) else None
    return about is not None and not about.has_wheel


def _may_stay(pin: Pin, request: PinRequest) -> bool:
    return SpecifierSet(request.specifier(pin.version)).contains(pin.version, prereleases=True)


def _named(pin: Pin) -> str:
    return f"{pin.name}[{','.join(pin.extras)}]" if pin.extras else pin.name


def _bounds(pins: Sequence[Pin], wanted: Mapping[str, PinRequest]) -> list[str]:
    """The lines of how far anything else may go, if it must: as far as what it must go for."""
    reaches = {request.reach for request in wanted.values()}
    if reaches & {Reach.EXACT, Reach.LATEST}:
        bound = no_lower
    else:
        bound = within_minor if reaches == {Reach.PATCH} else within_major
    return [
        f"{pin.name}{bound(pin.version)}{f' ; {pin.marker}' if pin.marker else ''}\n"
        for pin in pins
        if pin.name not in wanted
    ]


def _explain(reason: str, wanted: Mapping[str, PinRequest]) -> str:
    """Return uv's report, and what it was asked."""
    reason = reason.replace("the constraints", "the current pins")
    asked = ", ".join(
        f"{request.name}{f'=={request.version}' if request.version else f' ({request.reach})'}"
        for request in wanted.values()
    )
    return f"No set of versions fits with {asked}:\n{reason}"


def _needed_by(resolved: str) -> dict[str, list[str]]:
    """Return the packages that uv noted behind each pin: "# via django, celery"."""
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(resolved, encoding="utf-8")
        parsed = RequirementsFile.from_file(str(file), include_nested=False)
    starts = {each.line_number: each.name for each in parsed.requirements}
    needed: dict[str, list[str]] = {}
    for comment in parsed.comments:
        name = starts[max((line for line in starts if line <= comment.line_number), default=0)]
        words = comment.line.strip().removeprefix("#").strip().removeprefix("via").strip()
        if words and not words.startswith("-"):
            needed.setdefault(name, []).append(words)
    return needed


def _moves(
    changes: Sequence[PinChange], wanted: Collection[str], needed_by: dict[str, list[str]]
) -> tuple[PinMove, ...]:
    after = {change.name: change.after for change in changes}

    def why(change: PinChange) -> str:
        if change.name in wanted:
            return ASKED_FOR
        if not change.after:
            return NO_LONGER_NEEDED
        needing = needed_by.get(change.name, [])
        movers = [name for name in needing if name in after] or needing
        told = [f"{name} {after[name]}" if after.get(name) else name for name in movers]
        return f"needed by {', '.join(told)}" if told else "must move with the others"

    return tuple(PinMove(one.name, one.before, one.after, why(one)) for one in changes)


def _check_targets(pins: Sequence[Pin], targets: Sequence[Target]) -> None:
    """Raise PinError where a server would find two pins of one package."""
    for target in targets:
        held = [p.name for p in pins if not p.marker or Marker(p.marker).evaluate(target.markers)]
        if twice := sorted({name for name in held if held.count(name) > 1}):
            raise PinError(f"Python {target.python} would find two pins of {', '.join(twice)}.")
