"""From what files ask for to pins, as far as it is exact; constraints are applied."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version

from deploy_manager.requirements.asked import Asked, Asking, IndexOption, Problem, shown
from deploy_manager.requirements.pins import Pin

LONGEST_NAME, LONGEST_VERSION, LONGEST_MARKER = 200, 100, 1000
"""Characters; what the rows have room for."""

# https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
_STRONG_HASH = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_NEEDLESS = frozenset(
    ["--pre", "--all-releases", "--only-final", "--prefer-binary", "--use-feature"]
)
"""Options that choose among versions or files: of an exact pin there is no choice."""

NOT_PINNED = "is not pinned by name==version"


@dataclass(frozen=True)
class Pinned:
    """The pins that could be had, sorted, and every line that gave none."""

    pins: tuple[Pin, ...]
    problems: tuple[Problem, ...]


class _NoPinError(ValueError):
    """Why a requirement is no pin."""


def pin_asking(asking: Asking) -> Pinned:
    """Return what is pinned exactly, by a line or by a line and its constraints.

    Constraints with a marker count where the requirement has the same one.
    """
    pins: dict[tuple[str, str], Pin] = {}
    problems = [*asking.problems, *option_problems(asking)]
    for asked in asking.requirements:
        try:
            pin = _pin(asked, bounds_of(asked, asking.constraints))
            pins[pin.name, pin.marker] = _joined(pins.get((pin.name, pin.marker)), pin)
        except ValueError as error:
            problems.append(Problem(asked.file, asked.line, str(error)))
    order = {file: number for number, file in enumerate(asking.files)}
    problems.sort(key=lambda one: (order.get(one.file, -1), one.line))
    return Pinned(tuple(sorted(pins.values(), key=_order)), tuple(problems))


def _order(pin: Pin) -> tuple[str, str]:
    return pin.name, pin.marker


def option_problems(asking: Asking) -> Iterable[Problem]:
    """Tell each option that would change what is installed, since none is taken."""
    for option in asking.options:
        if option.name in _NEEDLESS or (_says_hashes(option) and _has_hashes(asking)):
            continue
        yield Problem(
            option.file,
            option.line,
            f"{option.text}: options are not taken from the file;"
            " the package index is a field of the environment",
        )


def refuse_elsewhere(asked: Asked) -> None:
    """Raises ValueError where a requirement does not come from an index."""
    if asked.address is not None or not asked.name:
        raise _NoPinError(f"{asked.text} is a path or a URL: it can't be pinned by a version")


def bounds_of(asked: Asked, constraints: Sequence[Asked]) -> list[Asked]:
    return [
        one for one in constraints if one.name == asked.name and one.marker in ("", asked.marker)
    ]


def _says_hashes(option: IndexOption) -> bool:
    return option.name == "--require-hashes"


def _has_hashes(asking: Asking) -> bool:
    return all(one.hashes for one in asking.requirements)


def _pin(asked: Asked, bounds: Sequence[Asked]) -> Pin:
    refuse_elsewhere(asked)
    if any(bound.address for bound in bounds):
        raise _NoPinError(f"{asked.text} is constrained to a path or a URL: it can't be pinned")
    hashes = {one.lower() for each in (asked, *bounds) for one in each.hashes}
    if weak := sorted(one for one in hashes if not _STRONG_HASH.fullmatch(one)):
        raise _NoPinError(f"{shown(weak[0])} is no sha256, sha384 or sha512 hash")
    version = _version(asked, bounds)
    if len(asked.name) > LONGEST_NAME or len(asked.marker) > LONGEST_MARKER:
        raise _NoPinError(f"{asked.text}… is too long")
    return Pin(asked.name, version, asked.extras, asked.marker, tuple(sorted(hashes)), asked.direct)


def _version(asked: Asked, bounds: Sequence[Asked]) -> str:
    """As https://packaging.python.org/en/latest/specifications/version-specifiers/ spells it."""
    specifiers = [one for each in (asked, *bounds) for one in each.specifier]
    exact = [one for one in specifiers if one.operator == "==" and not one.version.endswith(".*")]
    if not exact:
        raise _NoPinError(f"{asked.text} {NOT_PINNED}")
    if len(exact[0].version) > LONGEST_VERSION:
        raise _NoPinError(f"{asked.text}… is too long")
    version = Version(exact[0].version)
    if wrong := [one for one in specifiers if not _allows(one, version)]:
        raise _NoPinError(f"{asked.text}: {version} is not {wrong[0]}, which is asked for, too")
    return str(version)


def _allows(specifier: Specifier, version: Version) -> bool:
    if len(specifier.version) > LONGEST_VERSION:
        return False
    return SpecifierSet(str(specifier)).contains(version, prereleases=True)


def _joined(known: Pin | None, pin: Pin) -> Pin:
    """Take two lines of one package together. Raises ValueError where they differ."""
    if known is None:
        return pin
    if Version(known.version) != Version(pin.version):
        raise _NoPinError(f"{pin.name} is pinned twice, to {known.version} and {pin.version}")
    return replace(
        known,
        extras=tuple(sorted({*known.extras, *pin.extras})),
        hashes=tuple(sorted({*known.hashes, *pin.hashes})),
        direct=known.direct or pin.direct,
    )
