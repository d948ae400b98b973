"""Resolve with uv what a project asks for to everything that must be installed."""

from collections.abc import Iterable

from django.utils.translation import gettext_noop as _
from packaging.specifiers import SpecifierSet

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.asked import Asked, Asking, Problem
from deploy_manager.requirements.compiling import (
    FULL,
    Compiler,
    NoSolutionError,
    Source,
    newest_source,
    this_python,
)
from deploy_manager.requirements.pinning import (
    Pinned,
    option_problems,
    pin_asking,
    refuse_elsewhere,
)
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import (
    as_bytes,
    check_whole,
    describe_problems,
    read_pins,
)
from deploy_manager.requirements.text_files import read_text_files

_ALONE = "requirements.txt"


def complete_pins(
    text: str, path: str = "requirements.txt", python_version: str = "", index_url: str = ""
) -> tuple[Pin, ...]:
    """Return the full set of pins, with hashes, that satisfies a requirements file's text.

    `python_version` is the oldest of the servers', like 3.12. Blank, it and `index_url` are the
    worker's own. Nothing is built to learn its dependencies: a package without a wheel is taken if
    its source declares them. Raises PinError for lines that an index can't fulfil, with uv's report
    if there is no solution, and if uv is not installed.
    """
    asking = read_text_files(_ALONE, {_ALONE: as_bytes(text)}.get)
    if problems := resolving_problems(asking):
        raise PinError(
            _("%(path)s can't be completed: %(problems)s."),
            path=path,
            problems=describe_problems(problems, _ALONE),
        )
    return complete_asking(asking, path, python_version, index_url).pins


def complete_asking(
    asking: Asking, path: str, python_version: str = "", index_url: str = ""
) -> Pinned:
    """Resolve what files ask for, within their constraints; see `complete_pins`.

    Requirements that do not come from an index are left out, and are among the problems. Raises
    PinError if there is no solution, or if nothing is left to resolve.
    """
    asked = [one for one in asking.requirements if not _elsewhere(one)]
    if not asked:
        raise PinError(_("%(path)s asks for no package that an index has."), path=path)
    bounds = _lines(one for one in asking.constraints if not _elsewhere(one))
    options = [*FULL, "--universal"]
    if python_version:
        options.append(f"--python-version={python_version}")

    def find_source(name: str) -> Source | None:
        # The newest version within the file's own bounds; those of other packages only uv knows.
        lines = [*asking.requirements, *asking.constraints]
        specifier = SpecifierSet(",".join(str(one.specifier) for one in lines if one.name == name))
        return newest_source(name, specifier, index_url)

    pythons = [this_python(python_version)]
    compiler = Compiler(options, index_url, find_source=find_source, pythons=pythons)
    try:
        resolved = compiler.compile(lambda: _lines(asked), bounds)
    except NoSolutionError as error:
        raise PinError(
            _("%(path)s can't be completed:\n%(error)s"), path=path, error=error
        ) from None
    return Pinned(read_pins(resolved, path), tuple(resolving_problems(asking)))


def find_pins(
    asking: Asking,
    path: str,
    *,
    resolve: bool = False,
    skip_bad: bool = False,
    python_version: str = "",
    index_url: str = "",
) -> Pinned:
    """Return what files pin, or with `resolve` everything they need; see `complete_asking`.

    If there are bad lines, the others are only accepted with `skip_bad`. Raises PinError for a file
    that pins nothing, and if there is no solution.
    """
    if not resolve:
        return take_pins(asking, path, skip_bad=skip_bad)
    problems = tuple(resolving_problems(asking))
    if problems and not skip_bad:
        return Pinned((), problems)
    pinned = complete_asking(asking, path, python_version, index_url)
    check_whole(pinned.pins, path)
    return pinned


def take_pins(asking: Asking, path: str, *, skip_bad: bool = False) -> Pinned:
    """Return what files pin themselves, without the resolver; see `find_pins`. Raises PinError."""
    pinned = pin_asking(asking)
    if pinned.problems and not skip_bad:
        return Pinned((), pinned.problems)
    check_whole(pinned.pins, path)
    return pinned


def resolving_problems(asking: Asking) -> list[Problem]:
    """Return every line that is kept from the resolver."""
    elsewhere = [
        Problem(one.file, one.line, reason)
        for one in asking.requirements
        if (reason := _elsewhere(one))
    ]
    problems = [*asking.problems, *option_problems(asking), *elsewhere]
    return sorted(problems, key=lambda one: (one.file, one.line))


def _elsewhere(asked: Asked) -> str:
    """Return why a requirement can't be resolved by its name; blank if it can."""
    try:
        refuse_elsewhere(asked)
    except ValueError as error:
        return str(error)
    return ""


def _lines(asked: Iterable[Asked]) -> str:
    lines = []
    for one in asked:
        extras = f"[{','.join(one.extras)}]" if one.extras else ""
        marker = f" ; {one.marker}" if one.marker else ""
        lines.append(f"{one.name}{extras}{one.specifier}{marker}\n")
    return "".join(lines)
