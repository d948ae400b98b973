"""Requirements files, read as data only: nothing they name is opened, fetched or run."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from pip_requirements_parser import RequirementsFile

from deploy_manager.exceptions import PinError
from deploy_manager.logs import mask
from deploy_manager.requirements.pins import Pin

HOW_TO_PIN = "Pin everything: uv pip compile --generate-hashes requirements.in -o requirements.txt."
MOST_PROBLEMS_TOLD = 10


def read_pins(text: str, path: str = "requirements.txt") -> tuple[Pin, ...]:
    """Return the pins of a requirements file's text, sorted by name; `path` is for messages.

    Raises PinError with every line that is not an exact pin, and what to do about it.
    """
    parsed = _parse(text)
    problems = [*_problems_of_lines(parsed), *_problems_of_requirements(parsed)]
    if problems:
        raise PinError(_message(path, problems))
    pins = tuple(sorted(_pins(parsed), key=lambda pin: (pin.name, pin.marker)))
    _check_whole(pins, path)
    return pins


def _parse(text: str) -> RequirementsFile:
    # The parser reads files only; nested ones are left alone.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(text, encoding="utf-8")
        return RequirementsFile.from_file(str(file), include_nested=False)


def _problems_of_lines(parsed: RequirementsFile) -> Iterator[tuple[int, str]]:
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


def _problems_of_requirements(parsed: RequirementsFile) -> Iterator[tuple[int, str]]:
    for found in parsed.requirements:
        if found.name is None or found.link is not None or found.req is None:
            yield found.line_number, f"{_shown(found.line)} is a path or a URL, not a version"
        elif not _is_exact(found):
            yield found.line_number, f"{_shown(found.line)} is not pinned by name==version"


def _is_exact(found: Any) -> bool:
    specifiers = list(found.req.specifier)
    return (
        len(specifiers) == 1
        and specifiers[0].operator == "=="
        and not specifiers[0].version.endswith(".*")
    )


def _pins(parsed: RequirementsFile) -> Iterator[Pin]:
    found = list(parsed.requirements)
    for entry, following in zip(found, [*found[1:], None], strict=True):
        until = following.line_number if following else float("inf")
        comments = " ".join(
            comment.line
            for comment in parsed.comments
            if entry.line_number <= comment.line_number < until
        )
        yield Pin(
            name=canonicalize_name(entry.name),
            version=next(iter(entry.req.specifier)).version,
            extras=tuple(sorted(entry.extras)),
            marker=str(entry.marker or ""),
            hashes=tuple(sorted(entry.hash_options)),
            direct=_is_direct(comments),
        )


def _is_direct(comments: str) -> bool:
    """What pip-compile and uv note behind a pin: "via -r requirements.in", "via django"."""
    return "via" not in comments.split() or "-r " in comments or "pyproject.toml)" in comments


def _check_whole(pins: tuple[Pin, ...], path: str) -> None:
    if not pins:
        raise PinError(f"{path} pins nothing. {HOW_TO_PIN}")
    counted = Counter((pin.name, pin.marker) for pin in pins)
    if twice := sorted(name for (name, _marker), number in counted.items() if number > 1):
        raise PinError(f"{path} pins {', '.join(twice)} twice: leave one of them.")
    bare = [pin.name for pin in pins if not pin.hashes]
    if bare and len(bare) < len(pins):
        raise PinError(
            f"{path} has hashes for some packages but not for {', '.join(bare[:5])}:"
            f" pip takes hashes for all or for none. {HOW_TO_PIN}"
        )


def _message(path: str, problems: list[tuple[int, str]]) -> str:
    told = [f"line {line}: {text}" for line, text in sorted(problems)[:MOST_PROBLEMS_TOLD]]
    if len(problems) > MOST_PROBLEMS_TOLD:
        told.append(f"and {len(problems) - MOST_PROBLEMS_TOLD} more")
    return f"{path} is not a full set of exact pins: {'; '.join(told)}. {HOW_TO_PIN}"


def _shown(line: str) -> str:
    return mask(line.strip()[:100].encode()).decode(errors="replace")
