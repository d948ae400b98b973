"""New pins for a requirements file as people wrote it: what did not move stays as it stands."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.pylock import is_valid_pylock_path
from packaging.utils import canonicalize_name
from packaging.version import Version
from pip_requirements_parser import RequirementsFile

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.asked import shown
from deploy_manager.requirements.pins import Pin

_VERSION = re.compile(r"(==\s*)[^\s;,\\#]+")
_HASH = re.compile(r"\s*--hash=\S+")
_COMMENT = re.compile(r"\s#.*$")


def refuse_unpatchable(text: str, path: str) -> None:
    """Raise PinError for a file whose pins are not all its own lines, with what to do."""
    name = Path(path).name
    if name in ("uv.lock", "pyproject.toml") or is_valid_pylock_path(Path(name)):
        raise PinError(
            f"{path} can't be patched: another tool writes it. Have that tool move the versions,"
            " and commit what it wrote."
        )
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(text, encoding="utf-8", newline="")
        parsed = RequirementsFile.from_file(str(file), include_nested=False)
    kinds = ("requirements", "constraints")
    others = [
        one for line in parsed.options for kind in kinds for one in line.options.get(kind, ())
    ]
    if others:
        raise PinError(
            f"{path} can't be patched: its pins come from {', '.join(map(shown, others))}, too."
            " Write the new versions there, or put all pins in one file."
        )


def patch_pins(text: str, pins: Sequence[Pin]) -> str:
    """Return a requirements file's text that pins exactly these, with its comments and order.

    Packages that moved get their version, and their hashes where the file has any; those that are
    gone go, with the comments below them that say for whom they were; new ones come at the end.
    Whoever hands the outcome on should read it back: a file that is no full set of exact pins can't
    be patched faithfully.
    """
    lines = text.splitlines(keepends=True)
    wanted = {(pin.name, pin.marker): pin for pin in pins}
    has_hashes = "--hash=" in text
    for start, end, name, marker in reversed(_spans(text, lines)):
        pin = wanted.pop((name, marker), None) or _only(wanted, name)
        if pin is None:
            del lines[start : _end_of_notes(lines, end)]
        else:
            lines[start:end] = _patched(lines[start:end], pin)
    if lines and wanted and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join(lines) + "".join(_written(pin, has_hashes) for pin in wanted.values())


def _spans(text: str, lines: Sequence[str]) -> list[tuple[int, int, str, str]]:
    """Return where each pin stands: from line, up to line, its name and its marker."""
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(text, encoding="utf-8", newline="")
        parsed = RequirementsFile.from_file(str(file), include_nested=False)
    return [
        (
            found.line_number - 1,
            _end(lines, found.line_number - 1),
            canonicalize_name(found.name),
            str(found.marker or ""),
        )
        for found in parsed.requirements
        if found.name
    ]


def _end(lines: Sequence[str], start: int) -> int:
    end = start
    while end < len(lines) - 1 and lines[end].rstrip("\r\n").endswith("\\"):
        end += 1
    return end + 1


def _end_of_notes(lines: Sequence[str], end: int) -> int:
    """Where the indented comments end that a resolver wrote below a pin."""
    while end < len(lines) and re.match(r"\s+#", lines[end]):
        end += 1
    return end


def _only(wanted: dict[tuple[str, str], Pin], name: str) -> Pin | None:
    """The one pin of a package, whose marker may be written another way in the file."""
    keys = [key for key in wanted if key[0] == name]
    return wanted.pop(keys[0]) if len(keys) == 1 else None


def _patched(lines: Sequence[str], pin: Pin) -> list[str]:
    found = _VERSION.search(lines[0])
    if found is None or Version(found.group().lstrip("= ")) == Version(pin.version):
        return list(lines)
    first = _VERSION.sub(rf"\g<1>{pin.version}", lines[0], count=1)
    if "--hash=" not in "".join(lines):
        return [first, *lines[1:]]
    comment = _COMMENT.search(lines[-1].rstrip("\r\n"))
    bare = _HASH.sub("", first).rstrip().removesuffix("\\").rstrip()
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    parts = [bare, *(f"    --hash={one}" for one in sorted(pin.hashes))]
    return [f" \\{newline}".join(parts) + (comment.group() if comment else "") + newline]


def _written(pin: Pin, has_hashes: bool) -> str:
    hashes = [f"--hash={one}" for one in sorted(pin.hashes)] if has_hashes else []
    line = " \\\n    ".join([pin.requirement, *hashes])
    return f"{line}\n" if pin.direct else f"{line}\n    # via another package\n"
