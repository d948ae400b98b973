"""Run `uv pip compile` from wheels and declared metadata, without running any package's code.

uv is allowed to take wheels only. If it reports that a package has none, it is run again with the
metadata that the source declares, for a version of the caller's choice.
"""

import platform
import re
import sysconfig
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation import gettext_noop as _
from packaging.specifiers import SpecifierSet

from deploy_manager.exceptions import PinError
from deploy_manager.messages import Message
from deploy_manager.requirements.declared import declared_by, sources_of
from deploy_manager.requirements.targets import Target
from deploy_manager.requirements.uv import BY_THIS_PYTHON, TIMEOUT, Declared, run_uv

FULL = (
    "--generate-hashes",
    "--no-strip-extras",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)
"""Options that make the output of `uv pip compile` a lock."""

NEVER = "{} ; python_version < '3'\n"
_NEEDS_A_BUILD = re.compile(r"Wheels are required for `([^`]+)`")
_NAMES = {
    "requirements.in": "what the project asks for",
    "constraints.txt": "the constraints",
    "sources.txt": "the versions that exist as source",
    "elsewhere.txt": "what comes from no index",
    "requirements.txt": "the lock",
}


@dataclass(frozen=True)
class Source:
    """A version of a package that exists as source only."""

    version: str
    declared: Declared | None
    """None: its dependencies are unknown, as only its own code could compute them."""


def newest_source(name: str, specifier: SpecifierSet, index_url: str) -> Source | None:
    """Return the newest version that exists as source only; None if it declares nothing."""
    # An older one that declares something is not tried: uv must not go back for that.
    for version in sources_of(name, specifier, index_url)[:1]:
        declared = declared_by(name, version, (), index_url)
        return Source(version, declared) if declared else None
    return None


class NoSolutionError(PinError):
    """uv found no solution; the message is its report."""

    code = "no_solution"


FindSource = Callable[[str], Source | None]
"""Returns the version of a package to take as source, by its name; None: there is none."""


@dataclass
class Compiler:
    """Runs uv for the same Pythons and the same index."""

    options: Sequence[str]
    index_url: str = ""
    timeout: float = TIMEOUT
    find_source: FindSource = lambda _name: None
    pythons: Sequence[str] = ()
    """In words, for the message that a package has no wheel for them."""

    elsewhere: Collection[str] = ()
    """Packages that come from no index: needed or not, they are neither looked up nor pinned."""

    sources: dict[str, Source] = field(default_factory=dict)
    """The packages taken as source so far, by name."""

    def compile(
        self, asked: Callable[[], str], bounds: str, lock: str = "", options: Sequence[str] = ()
    ) -> str:
        """Return a lock that fulfils requirements within constraints, as near to `lock` as it can.

        `asked` is called again whenever another source is known. Raises NoSolutionError, PinError.
        """
        # It ends: every further round knows the source of one package more.
        while reason := self._try(asked(), bounds, lock, options):
            needed = [name for name in _NEEDS_A_BUILD.findall(reason) if name not in self.sources]
            found = {name: source for name in needed if (source := self.find_source(name))}
            if not found:
                advice = [self._advise(name, reason) for name in needed]
                raise NoSolutionError(Message.lines(*advice, reason))
            self.sources |= found
        return self._outcome

    def _try(self, asked: str, bounds: str, lock: str, options: Sequence[str]) -> str:
        # Files, as uv writes no `# via` comments for what it reads from a pipe.
        with tempfile.TemporaryDirectory(prefix="deploy_manager-") as name:
            folder = Path(name)
            texts = {"requirements.in": asked, "constraints.txt": bounds}
            pinned = (f"{name}==={one.version}\n" for name, one in self.sources.items())
            texts |= {"sources.txt": "".join(pinned), "requirements.txt": lock}
            # As an override it replaces what any package says of it, by what is never true.
            texts |= {"elsewhere.txt": "".join(map(NEVER.format, sorted(self.elsewhere)))}
            for file, text in texts.items():
                (folder / file).write_text(text, encoding="utf-8")
            # The output file exists before: uv prefers the versions that it pins.
            words = [
                *("pip", "compile", BY_THIS_PYTHON, str(folder / "requirements.in")),
                *(f"--constraints={folder / file}" for file in ("constraints.txt", "sources.txt")),
                f"--override={folder / 'elsewhere.txt'}",
                f"--output-file={folder / 'requirements.txt'}",
            ]
            reason = run_uv(
                [*words, *self.options, *options],
                self.index_url,
                self.timeout,
                declared={name: one.declared or Declared() for name, one in self.sources.items()},
            )
            self._outcome = (folder / "requirements.txt").read_text(encoding="utf-8")
            for file, name_for_people in _NAMES.items():
                reason = reason.replace(str(folder / file), name_for_people)
            return reason

    def _advise(self, name: str, reason: str) -> Message:
        """Return what to do about a package that has no wheel."""
        found = re.search(rf"\b{re.escape(name)}==([^\s,]+) has no usable wheels", reason)
        version = found[1] if found else ""
        if not found:
            # Only advice: without an answer of the index it names no version.
            with suppress(PinError):
                version = next(iter(sources_of(name, SpecifierSet(), self.index_url)), "")
        pythons = " and ".join(self.pythons) or this_python()
        return Message(
            _(
                "%(package)s has no wheel for %(pythons)s, and only its own code, which runs on a"
                " builder and nowhere else, could tell what it needs. Pin a version that has a"
                " wheel; or pin it and everything it needs exactly, and choose a builder on the"
                " environment, which builds it when it is deployed."
            ),
            package=f"{name} {version}".strip(),
            pythons=pythons,
        )


def this_python(version: str = "") -> str:
    """Describe a Python on this machine's platform; a blank version means the running one."""
    version = version or platform.python_version()
    return f"Python {version} on {sysconfig.get_platform().replace('-', ' ', 1)}"


def describe(target: Target) -> str:
    where = target.platform.replace("-", " ", 1)
    return f"Python {target.python} on {where}" if where else f"Python {target.python}"
