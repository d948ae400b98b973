"""What pip itself says of requirements files: the pip that virtualenv brings to servers.

Run as a program with the path of pip's wheel it answers questions, a line of JSON each:
`["folder", "file"]` -> `{"refused": …, "taken": …, "whole": …}`.
"""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple


class PipAnswer(NamedTuple):
    """What pip says of a file and of what it includes."""

    accepts: bool
    """Whether it takes all of it, as it comes out of the wheel."""

    refused: set[tuple[str, int]]
    """Files and lines, where it is made to go on behind a line that it refuses."""

    taken: list[list[Any]]
    """File, line, name, specifier, marker, extras, hashes, and whether it is editable."""

    reasons: list[str]


class PipReader:
    """pip in a process of its own that answers for many files; ends with `close`."""

    def __init__(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(embedded_pip())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"},
            text=True,
        )

    def ask(self, folder: Path, file: str) -> PipAnswer:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(folder), file]) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        return PipAnswer(
            not said["whole"],
            {(name, line) for name, line in said["refused"]},
            said["taken"],
            [*said["reasons"], said["whole"]],
        )

    def close(self) -> None:
        """End the process; it reads to the end of what it is asked."""
        self._process.communicate(timeout=30)


def embedded_pip() -> Path:
    """The newest wheel of pip that virtualenv has with it."""
    found = find_spec("virtualenv.seed.wheels.embed")
    assert found
    assert found.origin
    wheels = Path(found.origin).parent.glob("pip-*.whl")
    return max(wheels, key=lambda wheel: [int(one) for one in wheel.name.split("-")[1].split(".")])


def _facts(made: Any) -> list[Any]:
    """What pip has understood of a requirement."""
    specifier = str(made.req.specifier) if made.req else ""
    hashes = [f"{name}:{one}" for name, many in made.hash_options.items() for one in many]
    marker = str(made.markers or "")
    return [made.name or "", specifier, marker, sorted(made.extras), sorted(hashes), made.editable]


class _Judge:
    """Asks pip's functions about a file, once as they are and once going on after each error."""

    def __init__(self) -> None:
        self.req_file = import_module("pip._internal.req.req_file")
        self.constructors = import_module("pip._internal.req.constructors")
        self.install = import_module("pip._internal.req.req_install")
        self.refused: list[tuple[str, int]] = []
        self.reasons: list[str] = []

    def answer(self, folder: str, file: str) -> dict[str, Any]:
        os.chdir(folder)
        self.refused, self.reasons, taken = [], [], []
        whole = self.whole(file)
        for parsed in self.lines(file):
            place = self.place(parsed.comes_from)
            if made := self.make(parsed, place):
                taken.append([*place, *_facts(made)])
        refused = sorted(set(self.refused))
        return {"refused": refused, "reasons": self.reasons, "taken": taken, "whole": whole}

    def whole(self, file: str) -> str:
        """Why pip refuses the file, unchanged; blank: it does not."""
        try:
            session, finder = self.outfit()
            for parsed in self.req_file.parse_requirements(file, session, finder):
                self.check(parsed)
        except BaseException as error:
            return repr(error) or "?"
        return ""

    def outfit(self) -> tuple[Any, Any]:
        """A session and a finder, which pip tells of the options it meets."""
        collector = import_module("pip._internal.index.collector")
        finder = import_module("pip._internal.index.package_finder").PackageFinder
        scope = import_module("pip._internal.models.search_scope").SearchScope
        preferences = import_module("pip._internal.models.selection_prefs").SelectionPreferences
        formats = import_module("pip._internal.models.format_control").FormatControl
        releases = import_module("pip._internal.models.release_control").ReleaseControl
        session = import_module("pip._internal.network.session").PipSession()
        links = collector.LinkCollector(session, scope.create([], [], no_index=False))
        wanted = preferences(True, format_control=formats(), release_control=releases())
        return session, finder.create(links, wanted)

    def check(self, parsed: Any) -> Any:
        """Raises what pip raises for a requirement, there or a step later."""
        made = self.constructors.install_req_from_parsed_requirement(parsed)
        if parsed.constraint and (problem := self.install.check_invalid_constraint_type(made)):
            raise ValueError(problem)
        # Where a folder becomes editable, pip asks when it builds whether it holds a project.
        if made.editable and not parsed.requirement.lower().startswith("file:"):
            is_folder = made.link.is_existing_dir()
            if is_folder and not self.constructors.is_installable_dir(made.link.file_path):
                raise ValueError("no project")
        return made

    def make(self, parsed: Any, place: tuple[str, int]) -> Any:
        try:
            return self.check(parsed)
        except BaseException as error:
            self.refuse(place, error)
        return None

    def refuse(self, place: tuple[str, int], error: BaseException) -> None:
        self.refused.append(place)
        self.reasons.append(f"{place}: {error!r}"[:500])

    def place(self, comes_from: str) -> tuple[str, int]:
        """Where a line stands, of `-r /folder/file.txt (line 3)`."""
        path, _space, line = comes_from[3:].rpartition(" (line ")
        return os.path.relpath(path), int(line.rstrip(")"))

    def lines(self, file: str) -> Iterator[Any]:
        """Yield pip's lines, by pip's own parser, but going on where it would stop."""
        session, finder = self.outfit()
        parse = self.req_file.get_line_parser(finder)

        def parse_on(line: str) -> Any:
            try:
                return parse(line)
            except BaseException as error:
                values = self.req_file.build_parser().get_default_values()
                values.index_url, values.broken = None, error
                return "", values

        parser = self.req_file.RequirementsFileParser(session, parse_on)
        try:
            for line in parser.parse(file, False):
                place = (os.path.relpath(line.filename), line.lineno)
                try:
                    if broken := getattr(line.opts, "broken", None):
                        raise broken
                    if found := self.req_file.handle_line(line, finder=finder, session=session):
                        yield found
                except BaseException as error:
                    self.refuse(place, error)
        except BaseException as error:
            self.refuse(("", 0), error)


def _serve() -> None:
    sys.path.insert(0, sys.argv[1])
    logging.disable()
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # what optparse prints of each error
    judge = _Judge()
    for question in sys.stdin:
        answers.write(json.dumps(judge.answer(*json.loads(question))) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
