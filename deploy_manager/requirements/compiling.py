"""`uv pip compile`, from wheels and from what is declared: no package's code is run to ask it.

uv takes wheels only. Where a package has none in a version that is asked for, it says so; then it
is told what the source declares, if whoever asks knows a version of it, and tries again.
"""

import platform
import re
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.specifiers import SpecifierSet

from deploy_manager.exceptions import PinError
from deploy_manager.requirements.declared import sources_of
from deploy_manager.requirements.targets import Target
from deploy_manager.requirements.uv import BY_THIS_PYTHON, TIMEOUT, Declared, run_uv

FULL = (
    "--generate-hashes",
    "--no-strip-extras",
    "--no-header",
    "--no-emit-index-url",
    "--no-emit-find-links",
)
"""What makes the outcome of `uv pip compile` a lock."""

_NEEDS_A_BUILD = re.compile(r"Wheels are required for `([^`]+)`")
_NAMES = {
    "requirements.in": "what the project asks for",
    "constraints.txt": "the constraints",
    "sources.txt": "the versions that exist as source",
    "requirements.txt": "the lock",
}


@dataclass(frozen=True)
class Source:
    """A version of a package that is to be had as source only."""

    version: str
    declared: Declared | None
    """None: only its code could tell what it needs, so nobody knows."""


class NoSolutionError(PinError):
    """uv found no answer; the message has its words."""


FindSource = Callable[[str], Source | None]
"""Returns the version of a package to take as source, by its name; None: there is none to take."""


@dataclass
class Compiler:
    """Runs of uv for the same Pythons and the same index."""

    options: Sequence[str]
    index_url: str = ""
    timeout: float = TIMEOUT
    find_source: FindSource = lambda _name: None
    pythons: Sequence[str] = ()
    """In words, for whom there is no wheel."""

    sources: dict[str, Source] = field(default_factory=dict)
    """What was taken as source so far, by names."""

    def compile(
        self, asked: Callable[[], str], bounds: str, lock: str = "", options: Sequence[str] = ()
    ) -> str:
        """Return a lock for what is asked for, within bounds, as near to a lock as can be.

        `asked` is called again whenever another source is known. Raises NoSolutionError, PinError.
        """
        while reason := self._try(asked(), bounds, lock, options):
            needed = [name for name in _NEEDS_A_BUILD.findall(reason) if name not in self.sources]
            found = {name: source for name in needed if (source := self.find_source(name))}
            if not found:
                advice = "".join(f"{self._advise(name, reason)}\n" for name in needed)
                raise NoSolutionError(f"{advice}{reason}")
            self.sources |= found
        return self._outcome

    def _try(self, asked: str, bounds: str, lock: str, options: Sequence[str]) -> str:
        # Files, since of what it reads from a pipe uv does not note who asked for it.
        with tempfile.TemporaryDirectory(prefix="deploy_manager-") as name:
            folder = Path(name)
            texts = {"requirements.in": asked, "constraints.txt": bounds}
            pinned = (f"{name}==={one.version}\n" for name, one in self.sources.items())
            texts |= {"sources.txt": "".join(pinned), "requirements.txt": lock}
            for file, text in texts.items():
                (folder / file).write_text(text, encoding="utf-8")
            reason = run_uv(
                [*_words(folder), *self.options, *options],
                self.index_url,
                self.timeout,
                declared={name: one.declared or Declared() for name, one in self.sources.items()},
            )
            self._outcome = (folder / "requirements.txt").read_text(encoding="utf-8")
            for file, words in _NAMES.items():
                reason = reason.replace(str(folder / file), words)
            return reason

    def _advise(self, name: str, reason: str) -> str:
        """What to do about a package that has no wheel."""
        version = self._version_without_wheel(name, reason)
        pythons = " and ".join(self.pythons) or this_python()
        return (
            f"{f'{name} {version}'.strip()} has no wheel for {pythons}, and what it needs only its"
            " own code could tell, which is run on a builder and nowhere else. Pin a version that"
            " has a wheel; or write it and all that it needs as exact pins, and choose a builder on"
            " the environment, which builds it when it is deployed."
        )

    def _version_without_wheel(self, name: str, reason: str) -> str:
        if told := re.search(rf"\b{re.escape(name)}==([^\s,]+) has no usable wheels", reason):
            return told[1]
        try:
            return next(iter(sources_of(name, SpecifierSet(), self.index_url)), "")
        except PinError:
            return ""


def this_python(version: str = "") -> str:
    """Return a Python of this machine in words; blank: the one that runs this."""
    version = version or platform.python_version()
    return f"Python {version} on {sysconfig.get_platform().replace('-', ' ', 1)}"


def describe(target: Target) -> str:
    where = target.platform.replace("-", " ", 1)
    return f"Python {target.python} on {where}" if where else f"Python {target.python}"


def _words(folder: Path) -> list[str]:
    bounds = [f"--constraints={folder / name}" for name in ("constraints.txt", "sources.txt")]
    lock = f"--output-file={folder / 'requirements.txt'}"
    return ["pip", "compile", BY_THIS_PYTHON, str(folder / "requirements.in"), *bounds, lock]
