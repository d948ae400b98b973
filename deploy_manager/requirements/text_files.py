"""Requirements files as pip reads them, with all they include: data only, nothing is fetched.

A *line* is a logical one: continued lines are one, comments none. It is **accepted** when no
`Problem` stands at it, and then today's pip (the one that servers get) takes it, too: its own
`parse_requirements` and `install_req_from_parsed_requirement` raise nothing at that line, nor does
it refuse it as a constraint, while its working directory is the top of the files given here, the
machine's language is UTF-8, and no variable is set that the line names. What pip takes is accepted,
but for what is refused here on purpose: files at URLs and outside of the top (never opened), more
than `MOST_FILES` included files, lines longer than `LONGEST_LINE` or with more than `MOST_BLANKS`
blanks in a row, lines with a blank that is neither space nor tab, and `name===` without a version.
Placeholders like `${TOKEN}` are never replaced.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from optparse import Values
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pip_requirements_parser import CommentLine, join_lines, split_comments

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.asked import (
    Address,
    Asked,
    Asking,
    IndexOption,
    Problem,
    Secret,
    shown,
)
from deploy_manager.requirements.decoding import decode
from deploy_manager.requirements.line_kinds import Files, Kind, read_editable, read_kind
from deploy_manager.requirements.line_options import LineOptions

LONGEST_LINE, MOST_BLANKS = 64 * 1024, 1000
"""Characters."""

MOST_FILES = 200

ODD_BLANK = "it has a blank that is neither space nor tab"
NO_VERSION = "=== without a version"

_PROJECT_FILES = ("pyproject.toml)", "setup.py)", "setup.cfg)")
_OPTIONS = {
    "index_url": "--index-url",
    "extra_index_urls": "--extra-index-url",
    "find_links": "--find-links",
    "no_index": "--no-index",
    "trusted_hosts": "--trusted-host",
    "no_binary": "--no-binary",
    "only_binary": "--only-binary",
    "prefer_binary": "--prefer-binary",
    "require_hashes": "--require-hashes",
    "no_require_hashes": "--no-require-hashes",
    "pre": "--pre",
    "all_releases": "--all-releases",
    "only_final": "--only-final",
    "use_features": "--use-feature",
}
_ADDRESSES = {"index_url", "extra_index_urls", "find_links"}


def read_text_files(path: str, files: Files) -> Asking:
    """Read a requirements file and what it includes. A bad line is a problem, never an error."""
    reader = _Reader(files)
    reader.read(posixpath.normpath(path), False, ())
    return Asking(
        tuple(reader.requirements),
        tuple(reader.constraints),
        tuple(reader.options),
        tuple(reader.problems),
        tuple(dict.fromkeys(reader.opened)),
    )


@dataclass
class _Reader:
    files: Files
    requirements: list[Asked] = field(default_factory=list)
    constraints: list[Asked] = field(default_factory=list)
    options: list[IndexOption] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def read(self, file: str, is_constraint: bool, within: tuple[str, ...]) -> None:
        data = self.files(file)
        if data is None:
            self.problems.append(Problem(file, 0, "there is no such file"))
            return
        self.opened.append(file)
        try:
            text = decode(data)
        except PinError as error:
            self.problems.append(Problem(file, 0, str(error)))
            return
        _Lines(self, file, is_constraint, (*within, file)).read(text)


@dataclass
class _Lines:
    """The lines of one file."""

    reader: _Reader
    file: str
    is_constraint: bool
    within: tuple[str, ...]
    options: LineOptions = field(default_factory=LineOptions)

    def read(self, text: str) -> None:
        taken: Asked | None = None
        comments: list[str] = []
        for number, line, comment in _logical_lines(text):
            if comment:
                comments.append(line)
                continue
            self._keep(taken, comments)
            taken, comments = self._take(number, line), []
        self._keep(taken, comments)

    def _keep(self, taken: Asked | None, comments: list[str]) -> None:
        """Keep a requirement, when all the comments that belong to it are known."""
        if taken:
            held = self.reader.constraints if self.is_constraint else self.reader.requirements
            held.append(replace(taken, direct=_is_direct(" ".join(comments))))

    def _take(self, number: int, line: str) -> Asked | None:
        try:
            _refuse_on_purpose(line)
            before, options = self.options.split(line)
            if before or options.editables:
                return self._asked(number, line, before or options.editables[0], options)
            self._take_options(number, line, options)
        except (ValueError, RecursionError) as error:
            reason = _in_one_line(error)
            self._refuse(number, f"{shown(line)} is no requirement: {reason}")
        return None

    def _asked(self, number: int, line: str, text: str, options: Values) -> Asked:
        read = read_editable if options.editables else read_kind
        kind = read(text, self.reader.files)
        if self.is_constraint:
            _check_constraint(kind, bool(options.editables))
        found = kind.requirement
        return Asked(
            name=canonicalize_name(found.name) if found else "",
            specifier=found.specifier if found else SpecifierSet(),
            extras=tuple(sorted({canonicalize_name(extra) for extra in kind.extras})),
            marker=kind.marker,
            hashes=() if options.editables else tuple(options.hashes or ()),
            address=Address.of(kind.url) if kind.url else None,
            editable=bool(options.editables),
            file=self.file,
            line=number,
            text=shown(line),
        )

    def _take_options(self, number: int, line: str, options: Values) -> None:
        if options.requirements or options.constraints:
            included = (options.requirements or options.constraints)[0]
            self._include(number, included, not options.requirements)
            return
        for name, written in _OPTIONS.items():
            given = getattr(options, name)
            for value in given if isinstance(given, list) else [given] if given else []:
                kept = _option_value(name, value)
                self.reader.options.append(
                    IndexOption(written, kept, self.file, number, shown(line))
                )

    def _include(self, number: int, path: str, is_constraint: bool) -> None:
        """Read a file that a line names, where it may be read."""
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(self.file), path))
        told = shown(path)
        if re.match(r"(https?|file):", path, re.IGNORECASE):
            self._refuse(number, f"{told} is not read: other files are never fetched")
        elif inside.startswith(("/", "../")) or inside == "..":
            self._refuse(number, f"{told} is not read: other files are only read inside the folder")
        elif inside in self.within:
            self._refuse(number, f"{told} is not read again: it includes this file")
        elif len(self.reader.opened) > MOST_FILES:
            self._refuse(number, f"{told} is not read: {MOST_FILES} files were, that is the most")
        elif "\0" in inside or self.reader.files(inside) is None:
            self._refuse(
                number, f"{told} is not read: other files must come with this one, in its folder"
            )
        else:
            self.reader.read(inside, is_constraint, self.within)

    def _refuse(self, number: int, reason: str) -> None:
        self.reader.problems.append(Problem(self.file, number, reason))


def _logical_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each line's number, its text, and whether that is a comment."""
    for number, line in join_lines(enumerate(text.splitlines(), start=1)):
        if _is_too_long(line):
            yield number, line, False  # refused when it is looked at; comments can't be told
        else:
            for part in split_comments([(number, line)]):
                yield part.line_number, part.line, isinstance(part, CommentLine)


def _is_too_long(line: str) -> bool:
    return len(line) > LONGEST_LINE or bool(re.search(rf"\s{{{MOST_BLANKS},}}", line))


def _refuse_on_purpose(line: str) -> None:
    """Raises ValueError for what pip would take, and nobody means."""
    if _is_too_long(line):
        raise ValueError(f"longer than {LONGEST_LINE} characters, or {MOST_BLANKS} blanks in a row")
    if odd := re.search(r"[^\S \t]", line):
        raise ValueError(f"{ODD_BLANK}: U+{ord(odd.group()):04X}")
    if re.search(r"===\s*($|[;,)]|--)", line):
        raise ValueError(NO_VERSION)


def _check_constraint(kind: Kind, editable: bool) -> None:
    if editable:
        raise ValueError("a constraint can't be editable")
    if kind.requirement is None:
        raise ValueError("a constraint needs a name")
    if kind.extras:
        raise ValueError("a constraint has no extras")


def _option_value(name: str, value: Any) -> Address | str:
    if name == "trusted_hosts":
        _check_host(value)
    if value is True:
        return ""
    return _address(value) if name in _ADDRESSES else str(value)


def _address(value: str) -> Address:
    try:
        return Address.of(value)
    except ValueError:  # pip takes the line; it may be anything, a secret too
        return Address("", Secret(value))


def _check_host(host: str) -> None:
    """Raises ValueError for what is no host, or host and port."""
    bare = host.count(":") >= 2 and "@" not in host and "[" not in host
    place = Address.of(f"https://[{host}]" if bare else f"https://{host}")
    if place.host is None:
        raise ValueError("--trusted-host takes a host, or host:port")


def _is_direct(comments: str) -> bool:
    """What pip-compile and uv note behind a pin: "via -r requirements.in", "via django"."""
    if "via" not in comments.split():
        return True
    return "-r " in comments or any(file in comments for file in _PROJECT_FILES)


def _in_one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too deeply nested"
    return shown(str(error).partition("\n")[0], 200)
