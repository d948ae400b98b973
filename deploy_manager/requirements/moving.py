"""Move pins with uv: from a full lock and pin requests to the next full lock.

uv runs twice. First it finds how far the requested packages can go if all others may move with
them. Then it is given exactly those versions, and keeps everything else unless it must move: the
old lock is uv's output file, whose pins it prefers. What must move goes no lower, and no further
than it has to.

A pin that exists as source only is resolved by what its source declares. If that declares nothing,
its dependencies are unknown: then no pin is removed, and `pip check` proves on the server, before
anything serves, that they fit.
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from django.utils.translation import gettext_noop as _
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from pip_requirements_parser import RequirementsFile

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message
from deploy_manager.requirements.compiling import (
    FULL,
    Compiler,
    NoSolutionError,
    Source,
    describe,
    newest_source,
)
from deploy_manager.requirements.cooldown import cooldown_options
from deploy_manager.requirements.declared import declared_by
from deploy_manager.requirements.index_facts import PackageFacts, look_up_many
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

# Kept in English, and put into words where they are read.
ASKED_FOR = _("asked for")
NO_LONGER_NEEDED = _("no longer needed")
MOVES_WITH_OTHERS = _("must move with the others")


@dataclass(frozen=True)
class PinMove:
    """A package whose version changes, and why; a blank version: it is not in that lock."""

    name: str
    before: str
    after: str
    why: str


@dataclass(frozen=True)
class Moved:
    """All pins of the new lock, and those that moved."""

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
    """Return the lock that fulfils the requests and moves as little else as possible.

    `targets` are the different Pythons of the servers (none: the worker's own). With `before`,
    versions uploaded later are not considered, except for packages that are `exempt`. Raises
    PinError for a package that is not in the lock and, with uv's report, if there is no solution.
    """
    listed = read_pins(lock, "the lock")
    # What comes from no index stays where it is: only people move a commit.
    elsewhere = tuple(pin for pin in listed if pin.url)
    pins = tuple(pin for pin in listed if not pin.url)
    wanted = {request.name: request for request in requests}
    there = {pin.name for pin in elsewhere}
    if fixed := sorted(wanted.keys() & there):
        raise PinError(
            _(
                "%(fixed)s can't be upgraded: it is pinned to a commit or a file, not to a version"
                " of the package index. Pin another one in the requirements."
            ),
            fixed=", ".join(fixed),
        )
    if unknown := sorted(wanted.keys() - {pin.name for pin in pins}):
        raise PinError(_("%(unknown)s is not among the pins."), unknown=", ".join(unknown))
    options = [*FULL, *_target_options(pins, targets)]
    options += cooldown_options(pins, index_url, before, exempt)
    specifiers = {p.name: wanted[p.name].specifier(p.version) for p in pins if p.name in wanted}
    resolver = _Resolver(pins, wanted, options, targets, index_url, timeout, there)
    pins = _with_what_nobody_needs(pins, resolver)
    resolver = _Resolver(pins, wanted, options, targets, index_url, timeout, there)
    # In one run uv would leave a requested package at its old pin if the range allows that.
    if any(request.reach is not Reach.EXACT for request in requests):
        furthest = read_pins(resolver.resolve(specifiers, ["--upgrade"]), "the furthest pins")
        specifiers = {pin.name: f"=={pin.version}" for pin in furthest if pin.name in wanted}
    # -P frees only the requested packages from their old pins.
    resolved = resolver.resolve(specifiers, [f"-P{name}" for name in wanted])
    after = read_pins(resolved, "the new lock")
    if resolver.keeps_all:
        # uv was given all pins by name, so its `# via` comments say nothing about who needs them.
        direct = {pin.name: pin.direct for pin in pins}
        after = tuple(replace(pin, direct=direct.get(pin.name, pin.direct)) for pin in after)
    after = tuple(sorted((*after, *elsewhere), key=lambda pin: (pin.name, pin.marker)))
    _check_targets(after, targets)
    return Moved(after, _moves(compare_pins(listed, after), wanted, _needed_by(resolved)))


def _with_what_nobody_needs(pins: tuple[Pin, ...], resolver: "_Resolver") -> tuple[Pin, ...]:
    """Return the pins, with those as the project's own that nothing else there asks for.

    A lock whose extras were left out, as uv does by default, does not say why psycopg-binary is
    there. Only what an upgrade itself makes superfluous may go.
    """
    resolved = resolver.resolve_as_it_is()
    if resolved is None:
        return pins  # they do not fit as they are: what moves them tells more
    needed = {pin.name for pin in read_pins(resolved, "the lock as it is")}
    return tuple(pin if pin.name in needed else replace(pin, direct=True) for pin in pins)


def _target_options(pins: Sequence[Pin], targets: Sequence[Target]) -> list[str]:
    """Resolve exactly for a single Python, else universally from the oldest one on.

    A lock with markers was made for several platforms and stays universal, as its repository may be
    installed elsewhere, too.
    """
    python = oldest_python(targets)
    options = [f"--python-version={python}"] if python else []
    platforms = {target.uv_platform for target in targets}
    pythons = {target.python for target in targets}
    has_markers = any(pin.marker for pin in pins)
    if has_markers or len(pythons) != 1 or len(platforms) != 1 or "" in platforms:
        # By default uv takes for each Python the newest version, and so pins a package twice.
        return [*options, "--universal", "--fork-strategy=fewest"]
    return [*options, f"--python-platform={platforms.pop()}"]


class _Resolver:
    """Runs uv for one lock, and keeps pins that exist as source only where they are."""

    def __init__(
        self,
        pins: Sequence[Pin],
        wanted: Mapping[str, PinRequest],
        options: Sequence[str],
        targets: Sequence[Target],
        index_url: str,
        timeout: float,
        elsewhere: Collection[str] = (),
    ) -> None:
        self._pins, self._wanted, self._index_url = pins, wanted, index_url
        self._compiler = Compiler(
            options,
            index_url,
            timeout,
            self._find_source,
            [*map(describe, targets)],
            elsewhere,
        )

    def resolve(self, specifiers: Mapping[str, str], options: Sequence[str]) -> str:
        """Return the new lock as uv writes it. Raises PinError."""
        try:
            resolved = self._compile(specifiers, options)
            if self._hold_what_has_no_wheel(resolved):
                resolved = self._compile(specifiers, options)
        except NoSolutionError as error:
            raise PinError(_explain(str(error), self._wanted)) from None
        return resolved

    def resolve_as_it_is(self) -> str | None:
        """Return what the lock's own pins come to; None if they do not fit. Raises PinError."""
        try:
            return self._compile({}, [])
        except NoSolutionError:
            return None

    @property
    def keeps_all(self) -> bool:
        """Whether the dependencies of a package are unknown, so that no pin may be removed."""
        return any(one.declared is None for one in self._compiler.sources.values())

    def _compile(self, specifiers: Mapping[str, str], options: Sequence[str]) -> str:
        bounds, lock = "".join(_bounds(self._pins, self._wanted)), lock_text(self._pins)
        return self._compiler.compile(lambda: self._asked(specifiers), bounds, lock, options)

    def _asked(self, specifiers: Mapping[str, str]) -> str:
        """Return the lines that must be fulfilled: of the project's own pins and the requests."""
        lines = []
        for pin in self._pins:
            if pin.direct or pin.name in specifiers or self.keeps_all:
                extras = f"[{','.join(pin.extras)}]" if pin.extras else ""
                marker = f" ; {pin.marker}" if pin.marker else ""
                lines.append(f"{pin.name}{extras}{specifiers.get(pin.name, '')}{marker}\n")
        return "".join(lines)

    def _find_source(self, name: str) -> Source | None:
        """Return a package's pinned version if it may stay there, else the newest it may go to."""
        pinned = [pin for pin in self._pins if pin.name == name]
        request = self._wanted.get(name)
        reach = SpecifierSet(request.specifier(pinned[0].version) if request and pinned else "")
        if len(pinned) == 1 and reach.contains(pinned[0].version, prereleases=True):
            pin = pinned[0]
            return Source(pin.version, declared_by(name, pin.version, pin.hashes, self._index_url))
        return newest_source(name, reach, self._index_url)

    def _hold_what_has_no_wheel(self, resolved: str) -> bool:
        """Hold pins that moved only because they have no wheel; return whether there were any.

        Not allowed to build, uv prefers another version with a wheel to the pinned one without.
        """
        free = [
            change
            for change in compare_pins(self._pins, read_pins(resolved, "the new lock"))
            if change.before and change.after
            if change.name not in self._wanted and change.name not in self._compiler.sources
        ]
        facts = look_up_many([one.name for one in free], self._index_url) if free else {}
        held = {}
        for change in free:
            found = facts[change.name]
            about = found.of(change.before) if isinstance(found, PackageFacts) else None
            if about and not about.has_wheel and (source := self._find_source(change.name)):
                held[change.name] = source
        self._compiler.sources |= held
        return bool(held)


def _bounds(pins: Sequence[Pin], wanted: Mapping[str, PinRequest]) -> list[str]:
    """Return the constraints of all other packages: they may go as far as the requests go."""
    # A patch must not drag a major version along, but an exact or the latest version may need it.
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


def _explain(reason: str, wanted: Mapping[str, PinRequest]) -> Message:
    """Return uv's report, preceded by what was requested."""
    reason = reason.replace("the constraints", "the current pins")
    asked = ", ".join(
        f"{request.name}{f'=={request.version}' if request.version else f' ({request.reach})'}"
        for request in wanted.values()
    )
    return Message(
        _("No set of versions fits with %(asked)s:\n%(reason)s"), asked=asked, reason=reason
    )


def _needed_by(resolved: str) -> dict[str, list[str]]:
    """Return the packages that uv notes below each pin: "# via django, celery"."""
    # The parser, which keeps comments, reads files only.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(resolved, encoding="utf-8")
        parsed = RequirementsFile.from_file(str(file), include_nested=False)
    starts = {each.line_number: each.name for each in parsed.requirements}
    needed: dict[str, list[str]] = {}
    for comment in parsed.comments:
        name = starts[max((line for line in starts if line <= comment.line_number), default=0)]
        words = comment.line.strip().removeprefix("#").strip().removeprefix("via").strip()
        if words and not words.startswith("-"):  # "-r requirements.in" is the project itself
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
        names = [f"{name} {after[name]}" if after.get(name) else name for name in movers]
        return f"needed by {', '.join(names)}" if names else MOVES_WITH_OTHERS

    return tuple(PinMove(one.name, one.before, one.after, why(one)) for one in changes)


def _check_targets(pins: Sequence[Pin], targets: Sequence[Target]) -> None:
    """Raise PinError if two pins of one package apply to the same server."""
    for target in targets:
        held = [p.name for p in pins if not p.marker or Marker(p.marker).evaluate(target.markers)]
        if twice := sorted({name for name in held if held.count(name) > 1}):
            raise PinError(
                _("On Python %(python)s, two pins of %(twice)s apply."),
                python=target.python,
                twice=", ".join(twice),
            )
