"""Patch new pins into a requirements file that people wrote: the rest stays as it is."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from django.utils.translation import gettext_noop as _
from packaging.pylock import is_valid_pylock_path
from packaging.utils import canonicalize_name
from packaging.version import Version
from pip_requirements_parser import RequirementsFile

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.asked import shown
from deploy_manager.requirements.pins import Pin, lock_text

_VERSION = re.compile(r"(==\s*)[^\s;,\\#]+")
_HASH = re.compile(r"(?:\s|\\\r?\n)*--hash[=\s]\s*[^\s\\]+")
_COMMENT = re.compile(r"[ \t]+#.*", re.DOTALL)


def refuse_unpatchable(text: str, path: str) -> None:
    """Raise PinError, with what to do instead, for a file whose pins are not all in itself."""
    name = Path(path).name
    if name in ("uv.lock", "pyproject.toml") or is_valid_pylock_path(Path(name)):
        raise PinError(
            _(
                "%(path)s can't be patched: another tool writes it. Let that tool move the "
                "versions, and commit its output."
            ),
            path=path,
        )
    kinds = ("requirements", "constraints")
    options = _parse(text).options
    others = [one for line in options for kind in kinds for one in line.options.get(kind, ())]
    if others:
        raise PinError(
            _(
                "%(path)s can't be patched: it also takes pins from %(others)s. Write the "
                "new versions there, or put all pins in one file."
            ),
            path=path,
            others=", ".join(map(shown, others)),
        )


def patch_pins(text: str, pins: Sequence[Pin]) -> str:
    """Return a requirements file's text that pins exactly these, with its comments and order.

    Packages that moved get their new version, and new hashes if they have any in the file. Removed
    packages are deleted together with the `# via` comments below them; new ones are appended. The
    caller should read the result back: a file that is not a full set of exact pins can't be patched
    reliably.
    """
    lines = text.splitlines(keepends=True)
    # What comes from no index stays as it is: nothing moves it but people.
    elsewhere = {pin.name for pin in pins if pin.url}
    wanted = {(pin.name, pin.marker): pin for pin in pins if not pin.url}
    # From the end, so that the numbers of the lines that are still to come stay right.
    for found in reversed([one for one in _parse(text).requirements if one.name]):
        start = end = found.line_number - 1
        while end < len(lines) - 1 and lines[end].rstrip("\r\n").endswith("\\"):
            end += 1
        end += 1
        name = canonicalize_name(found.name)
        if name in elsewhere:
            continue
        pin = wanted.pop((name, str(found.marker or "")), None)
        if pin is None:
            # A package's only pin is the one that is meant, however its marker is spelled here.
            keys = [key for key in wanted if key[0] == name]
            pin = wanted.pop(keys[0]) if len(keys) == 1 else None
        if pin is None:
            # Indented comments below a pin are a resolver's.
            while end < len(lines) and re.match(r"\s+#", lines[end]):
                end += 1
            del lines[start:end]
        else:
            lines[start:end] = _patched(lines[start:end], pin)
    if lines and wanted and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    has_hashes = "--hash=" in text
    new = (pin if has_hashes else replace(pin, hashes=()) for pin in wanted.values())
    return "".join(lines) + "".join(lock_text([pin]) for pin in new)


def _parse(text: str) -> RequirementsFile:
    # The parser reads files only; newline="" keeps it from changing the text's own line ends.
    with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text(text, encoding="utf-8", newline="")
        return RequirementsFile.from_file(str(file), include_nested=False)


def _patched(lines: Sequence[str], pin: Pin) -> list[str]:
    found = _VERSION.search(lines[0])
    if found is None or Version(found.group().lstrip("= ")) == Version(pin.version):
        return list(lines)
    first = _VERSION.sub(rf"\g<1>{pin.version}", lines[0], count=1)
    code, comment = _split_comment("".join([first, *lines[1:]]))
    if not _HASH.search(code):
        return [first, *lines[1:]]
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    bare = _HASH.sub("", code).rstrip()
    parts = [bare, *(f"    --hash={one}" for one in sorted(pin.hashes))]
    return [f" \\{newline}".join(parts) + comment + newline]


def _split_comment(text: str) -> tuple[str, str]:
    """Split a requirement's lines into what pip reads, and the comment that ends it.

    pip joins continued lines before it looks for a comment, which so goes to the end of the last.
    """
    found = _COMMENT.search(text)
    if found is None:
        return text.rstrip("\r\n"), ""
    comment = re.sub(r"\s*\\\r?\n\s*", " ", found.group().rstrip())
    return text[: found.start()], comment
