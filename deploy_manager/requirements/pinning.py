"""Turn what files ask for into pins, as far as it is exact, within their constraints."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import Version

from deploy_manager.requirements.asked import Asked, Asking, Problem, shown
from deploy_manager.requirements.direct import direct_pin
from deploy_manager.requirements.pins import Pin

LONGEST_NAME, LONGEST_VERSION, LONGEST_MARKER, LONGEST_URL = 200, 100, 1000, 500
"""Characters that the rows have room for."""

# https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
_STRONG_HASH = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_NEEDLESS = frozenset(
    ["--pre", "--all-releases", "--only-final", "--prefer-binary", "--use-feature"]
)
"""Options that choose among versions or files: an exact pin leaves no choice."""

NOT_PINNED = "is not pinned by name==version"


@dataclass(frozen=True)
class Pinned:
    """The pins, sorted, and a problem for every line that is not a pin."""

    pins: tuple[Pin, ...]
    problems: tuple[Problem, ...]


class _NoPinError(ValueError):
    """Why a requirement is not a pin."""


def pin_asking(asking: Asking) -> Pinned:
    """Return what is pinned exactly, by a line or by a line with its constraints.

    A constraint with a marker applies only to a requirement with the same marker.
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
    ordered = sorted(pins.values(), key=lambda pin: (pin.name, pin.marker))
    return Pinned(tuple(ordered), tuple(problems))


def option_problems(asking: Asking) -> Iterable[Problem]:
    """Return a problem for each option that would change what is installed."""
    has_hashes = all(one.hashes for one in asking.requirements)
    for option in asking.options:
        if option.name in _NEEDLESS or (option.name == "--require-hashes" and has_hashes):
            continue
        yield Problem(
            option.file,
            option.line,
            f"{option.text}: options in the file are not used;"
            " the package index is a field of the environment",
        )


def _direct(asked: Asked) -> Pin:
    """Return the pin of a requirement that comes from a URL. Raises ValueError."""
    version, url = direct_pin(asked)
    _refuse_too_long(asked, url)
    return Pin(asked.name, version, asked.extras, asked.marker, (), asked.direct, url)


def _refuse_too_long(asked: Asked, url: str = "") -> None:
    lengths = (
        (asked.name, LONGEST_NAME),
        (asked.marker, LONGEST_MARKER),
        (url, LONGEST_URL),
    )
    if any(len(text) > most for text, most in lengths):
        raise _NoPinError(f"{asked.text}… is too long")


def refuse_elsewhere(asked: Asked) -> None:
    """Raises ValueError if a requirement does not come from an index."""
    if asked.address is not None or not asked.name:
        raise _NoPinError(f"{asked.text} is a path or a URL: it can't be pinned by a version")


def bounds_of(asked: Asked, constraints: Sequence[Asked]) -> list[Asked]:
    return [
        one for one in constraints if one.name == asked.name and one.marker in ("", asked.marker)
    ]


def _pin(asked: Asked, bounds: Sequence[Asked]) -> Pin:
    if asked.address is not None:
        return _direct(asked)
    refuse_elsewhere(asked)
    if any(bound.address for bound in bounds):
        raise _NoPinError(f"{asked.text} is constrained to a path or a URL: it can't be pinned")
    hashes = {one.lower() for each in (asked, *bounds) for one in each.hashes}
    if weak := sorted(one for one in hashes if not _STRONG_HASH.fullmatch(one)):
        raise _NoPinError(f"{shown(weak[0])} is not a sha256, sha384 or sha512 hash")
    version = _version(asked, bounds)
    _refuse_too_long(asked)
    return Pin(asked.name, version, asked.extras, asked.marker, tuple(sorted(hashes)), asked.direct)


def _version(asked: Asked, bounds: Sequence[Asked]) -> str:
    """Return the exact version. Raises ValueError if there is none, or if a bound excludes it."""
    # https://packaging.python.org/en/latest/specifications/version-specifiers/
    specifiers = [one for each in (asked, *bounds) for one in each.specifier]
    exact = [one for one in specifiers if one.operator == "==" and not one.version.endswith(".*")]
    if not exact:
        raise _NoPinError(f"{asked.text} {NOT_PINNED}")
    if len(exact[0].version) > LONGEST_VERSION:
        raise _NoPinError(f"{asked.text}… is too long")
    version = Version(exact[0].version)
    if wrong := [one for one in specifiers if not _allows(one, version)]:
        raise _NoPinError(f"{asked.text}: {version} is not {wrong[0]}, which is also required")
    return str(version)


def _allows(specifier: Specifier, version: Version) -> bool:
    if len(specifier.version) > LONGEST_VERSION:
        return False  # comparing endless versions would take endless time
    # An exact pin may be a pre-release, which bounds do not take by default.
    return SpecifierSet(str(specifier)).contains(version, prereleases=True)


def _joined(known: Pin | None, pin: Pin) -> Pin:
    """Join two lines of one package. Raises ValueError if their versions differ."""
    if known is None:
        return pin
    if known.url != pin.url:
        raise _NoPinError(
            f"{pin.name} is pinned twice, to {known.url or known.version} and"
            f" {pin.url or pin.version}"
        )
    if Version(known.version) != Version(pin.version):
        raise _NoPinError(f"{pin.name} is pinned twice, to {known.version} and {pin.version}")
    return replace(
        known,
        extras=tuple(sorted({*known.extras, *pin.extras})),
        hashes=tuple(sorted({*known.hashes, *pin.hashes})),
        direct=known.direct or pin.direct,
    )
