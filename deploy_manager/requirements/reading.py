"""Requirements files, read as data only: nothing they name is opened, fetched or run."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version
from pip_requirements_parser import RequirementsFile

from deploy_manager.exceptions import PinError
from deploy_manager.logs import mask
from deploy_manager.requirements.pins import Pin

HOW_TO_PIN = "Pin everything: uv pip compile --generate-hashes requirements.in -o requirements.txt."
MOST_PROBLEMS_TOLD = 10
LONGEST_NAME, LONGEST_VERSION, LONGEST_MARKER = 200, 100, 1000
"""Characters; what the rows have room for."""

# https://pip.pypa.io/en/stable/topics/secure-installs/#hash-checking-mode
_STRONG_HASH = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_PROJECT_FILES = ("pyproject.toml)", "setup.py)", "setup.cfg)")

Problem = tuple[int, str]
"""The number of a line, and what is wrong with it."""


def read_pins(text: str, path: str = "requirements.txt") -> tuple[Pin, ...]:
    """Return the pins of a requirements file's text, sorted by name; `path` is for messages.

    Raises PinError with every line that is not an exact pin, and what to do about it.
    """
    parsed = _parse(text)
    problems = [
        *_problems_of_lines(parsed),
        *_problems_of_names(parsed),
        *_problems_of_pins(parsed),
    ]
    if problems:
        raise PinError(f"{path} is not a full set of exact pins: {_told(problems)}. {HOW_TO_PIN}")
    pins = tuple(sorted(_pins(parsed), key=lambda pin: (pin.name, pin.marker)))
    _check_whole(pins, path)
    return pins


def refuse_all_but_names(text: str, path: str) -> None:
    """Raise PinError for every line that leads elsewhere: options, other files, paths, URLs."""
    parsed = _parse(text)
    problems = [*_problems_of_lines(parsed), *_problems_of_names(parsed)]
    if problems:
        raise PinError(f"{path} can't be completed: {_told(problems)}.")


def _parse(text: str) -> RequirementsFile:
    # The parser reads files only; nested ones are left alone.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        # The mark at its start says that it is UTF-8, whatever a comment in it may claim (PEP 263).
        file.write_text(text.removeprefix("\ufeff"), encoding="utf-8-sig", errors="replace")
        return RequirementsFile.from_file(str(file), include_nested=False)


def _problems_of_lines(parsed: RequirementsFile) -> Iterator[Problem]:
    for line in parsed.invalid_lines:
        yield line.line_number, f"{_shown(line.line)} is no requirement"
    for option in parsed.options:
        if {"requirements", "constraints"} & option.options.keys():
            yield option.line_number, "other files are not read: put their pins in this one"
        else:
            yield (
                option.line_number,
                f"{_shown(option.line)}: options are not taken from the file;"
                " the package index is a field of the environment",
            )


def _problems_of_names(parsed: RequirementsFile) -> Iterator[Problem]:
    for found in parsed.requirements:
        if _is_elsewhere(found):
            yield found.line_number, f"{_shown(found.line)} is a path or a URL, not a version"
        elif found.install_options or found.global_options:
            yield found.line_number, f"{_shown(found.line)}: a package takes no options but hashes"


def _problems_of_pins(parsed: RequirementsFile) -> Iterator[Problem]:
    for found in parsed.requirements:
        if _is_elsewhere(found):
            continue
        if not _is_exact(found):
            yield found.line_number, f"{_shown(found.line)} is not pinned by name==version"
        elif weak := [one for one in found.hash_options if not _STRONG_HASH.fullmatch(one)]:
            yield found.line_number, f"{_shown(weak[0])} is no sha256, sha384 or sha512 hash"
        elif _is_too_long(found):
            yield found.line_number, f"{_shown(found.line)}… is too long"


def _is_elsewhere(found: Any) -> bool:
    return found.name is None or found.link is not None or found.req is None


def _is_exact(found: Any) -> bool:
    specifiers = list(found.req.specifier)
    return (
        len(specifiers) == 1
        and specifiers[0].operator == "=="
        and not specifiers[0].version.endswith(".*")
    )


def _is_too_long(found: Any) -> bool:
    return (
        len(found.name) > LONGEST_NAME
        or len(_version(found)) > LONGEST_VERSION
        or len(str(found.marker or "")) > LONGEST_MARKER
    )


def _version(found: Any) -> str:
    """As https://packaging.python.org/en/latest/specifications/version-specifiers/ spells it."""
    return str(Version(next(iter(found.req.specifier)).version))


def _pins(parsed: RequirementsFile) -> Iterator[Pin]:
    comments = _comments_of(parsed)
    for entry in parsed.requirements:
        yield Pin(
            name=canonicalize_name(entry.name),
            version=_version(entry),
            extras=tuple(sorted({canonicalize_name(extra) for extra in entry.extras})),
            marker=str(entry.marker or ""),
            hashes=tuple(sorted(set(entry.hash_options))),
            direct=_is_direct(" ".join(comments[entry.line_number])),
        )


def _comments_of(parsed: RequirementsFile) -> dict[int, list[str]]:
    """The comments on a requirement's line and below it, by the number of the line."""
    below: dict[int, list[str]] = {0: []}
    lines = [(found.line_number, 0, "") for found in parsed.requirements]
    lines += [(comment.line_number, 1, comment.line) for comment in parsed.comments]
    current = 0
    for number, is_comment, text in sorted(lines):
        if is_comment:
            below[current].append(text)
        else:
            current = number
            below[current] = []
    return below


def _is_direct(comments: str) -> bool:
    """What pip-compile and uv note behind a pin: "via -r requirements.in", "via django"."""
    if "via" not in comments.split():
        return True
    return "-r " in comments or any(file in comments for file in _PROJECT_FILES)


def _check_whole(pins: tuple[Pin, ...], path: str) -> None:
    if not pins:
        raise PinError(f"{path} pins nothing. {HOW_TO_PIN}")
    counted = Counter((pin.name, pin.marker) for pin in pins)
    if twice := sorted({name for (name, _marker), number in counted.items() if number > 1}):
        raise PinError(f"{path} pins {', '.join(twice)} twice: leave one of them.")
    bare = [pin.name for pin in pins if not pin.hashes]
    if bare and len(bare) < len(pins):
        raise PinError(
            f"{path} has hashes for some packages but not for {', '.join(bare[:5])}:"
            f" pip takes hashes for all or for none. {HOW_TO_PIN}"
        )


def _told(problems: list[Problem]) -> str:
    told = [f"line {line}: {text}" for line, text in sorted(problems)[:MOST_PROBLEMS_TOLD]]
    if len(problems) > MOST_PROBLEMS_TOLD:
        told.append(f"and {len(problems) - MOST_PROBLEMS_TOLD} more")
    return "; ".join(told)


def _shown(line: str) -> str:
    line = "".join(one if one.isprintable() else " " for one in line.strip()[:500])
    return mask(line.encode(errors="replace")).decode(errors="replace")[:100]
