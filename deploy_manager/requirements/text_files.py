"""Read requirements files as pip does, with the files they include: as data, without fetching.

A *line* is a logical one: continued lines count as one, comments as none. A line without a
`Problem` is **accepted**, and then the present pip (the one that servers get) accepts it, too: its
`parse_requirements` and `install_req_from_parsed_requirement` raise nothing for it, and it is not
refused as a constraint. This holds if pip's working directory is the top of the files given here,
the machine's encoding is UTF-8, and no variable that the line names is set.

Conversely, what pip accepts is accepted here, except for what is refused on purpose: files at URLs
and outside of the top (they are never opened), more than `MOST_FILES` included files, lines longer
than `LONGEST_LINE` or with more than `MOST_BLANKS` blanks in a row, lines with a blank that is
neither a space nor a tab, and `name===` without a version. Placeholders like `${TOKEN}` are never
replaced.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from optparse import Values
from typing import Any

from django.utils.translation import gettext_noop as _
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pip_requirements_parser import CommentLine, join_lines, split_comments

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message
from deploy_manager.requirements.asked import (
    Address,
    Asked,
    Asking,
    IndexOption,
    Problem,
    shown,
)
from deploy_manager.requirements.decoding import decode
from deploy_manager.requirements.line_kinds import Files, read_editable, read_kind
from deploy_manager.requirements.line_options import LineOptions
from deploy_manager.sealing import Secret

LONGEST_LINE, MOST_BLANKS = 64 * 1024, 1000
"""Characters."""

MOST_FILES = 200

ODD_BLANK = Message(_("it has a blank that is neither a space nor a tab"))
NO_VERSION = "=== without a version"

# As "# via shop (pyproject.toml)" of pip-compile, and "(pyproject.toml:dev)" of uv for a group.
_PROJECT_FILE = re.compile(r"\b(pyproject\.toml|setup\.py|setup\.cfg)(:[^)\s]+)?\)")
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
    """Read a requirements file and those it includes; errors are returned as problems."""
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
        # Only now, as the comments below a requirement say whether it is direct.
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
        except RecursionError:
            self._refuse(number, f"{shown(line)} is not a valid requirement: too deeply nested")
        except ValueError as error:
            reason = shown(str(error).partition("\n")[0], 200)
            self._refuse(number, f"{shown(line)} is not a valid requirement: {reason}")
        return None

    def _asked(self, number: int, line: str, text: str, options: Values) -> Asked:
        read = read_editable if options.editables else read_kind
        kind = read(text, self.reader.files)
        found = kind.requirement
        if self.is_constraint and options.editables:
            raise ValueError(Message(_("a constraint can't be editable")))
        if self.is_constraint and found is None:
            raise ValueError(Message(_("a constraint needs a name")))
        if self.is_constraint and kind.extras:
            raise ValueError(Message(_("a constraint can't have extras")))
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
            included = (options.requirements or options.constraints)[0]  # pip ignores the others
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
        """Read a file that a line includes, if that is allowed."""
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(self.file), path))
        name = shown(path)
        if re.match(r"(https?|file):", path, re.IGNORECASE):
            self._refuse(number, f"{name} is not read: included files are never fetched")
        elif inside.startswith(("/", "../")) or inside == "..":
            self._refuse(number, f"{name} is not read: it is outside of the folder")
        elif inside in self.within:
            self._refuse(number, f"{name} is not read again: it includes this file")
        elif len(self.reader.opened) > MOST_FILES:
            self._refuse(number, f"{name} is not read: no more than {MOST_FILES} files are")
        elif "\0" in inside or self.reader.files(inside) is None:
            self._refuse(
                number, f"{name} is not read: included files must be in the folder of this one"
            )
        else:
            self.reader.read(inside, is_constraint, self.within)

    def _refuse(self, number: int, reason: str) -> None:
        self.reader.problems.append(Problem(self.file, number, reason))


def _logical_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield each line's number, its text, and whether it is a comment."""
    for number, line in join_lines(enumerate(text.splitlines(), start=1)):
        if _is_too_long(line):
            yield number, line, False  # it is refused later; finding comments would take too long
        else:
            for part in split_comments([(number, line)]):
                yield part.line_number, part.line, isinstance(part, CommentLine)


def _is_too_long(line: str) -> bool:
    return len(line) > LONGEST_LINE or bool(re.search(rf"\s{{{MOST_BLANKS},}}", line))


def _refuse_on_purpose(line: str) -> None:
    """Raises ValueError for what pip would accept, although it can't be meant."""
    if _is_too_long(line):
        raise ValueError(
            Message(
                _("it has more than %(most)s characters, or %(blanks)s blanks in a row"),
                most=LONGEST_LINE,
                blanks=MOST_BLANKS,
            )
        )
    if odd := re.search(r"[^\S \t]", line):
        raise ValueError(
            Message("%(what)s: U+%(odd)s", what=ODD_BLANK, odd=f"{ord(odd.group()):04X}")
        )
    if re.search(r"===\s*($|[;,)]|--)", line):
        raise ValueError(NO_VERSION)


def _option_value(name: str, value: Any) -> Address | str:
    if name == "trusted_hosts":
        _check_host(value)
    if value is True:
        return ""
    if name not in _ADDRESSES:
        return str(value)
    try:
        return Address.of(value)
    except ValueError:
        return Address("", Secret(value))  # pip accepts the line: it may contain a secret


def _check_host(host: str) -> None:
    """Raises ValueError for anything but a host, or a host and a port."""
    is_ipv6 = host.count(":") >= 2 and "@" not in host and "[" not in host
    place = Address.of(f"https://[{host}]" if is_ipv6 else f"https://{host}")
    if place.host is None:
        raise ValueError(Message(_("--trusted-host takes a host, or host:port")))


def _is_direct(comments: str) -> bool:
    # pip-compile and uv write "via -r requirements.in" for a direct one, "via django" for others.
    if "via" not in comments.split():
        return True
    return "-r " in comments or bool(_PROJECT_FILE.search(comments))
