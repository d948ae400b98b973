"""Known vulnerabilities of pinned versions: asked by pip-audit, or looked up in a file."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.utils import InvalidName, canonicalize_name

from deploy_manager import trust
from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.logs import mask_text
from deploy_manager.requirements.advice import (
    Advice,
    known_advisory,
    one_for_each,
    parsed_version,
)
from deploy_manager.requirements.osv_records import advise_from_records
from deploy_manager.requirements.uv import minimal_environment

Pair = tuple[str, str]
"""The name of a package, and its version."""

TIMEOUT = 120.0
"""Seconds for all."""

ANSWER_TIMEOUT = 10
"""Seconds for one answer of the database."""

MOST_AT_ONCE = 8
MOST_IN_A_RUN = 75
"""Pairs: pip-audit asks for one after the other, and each answer takes its time."""

ENOUGH_REFUSALS = 3
"""Single pairs without an answer, before any had one, after which nobody is asked any more."""

LONGEST_PROBLEM = 500

_OPTIONS = (
    *("--format", "json", "--aliases", "on", "--desc", "on"),
    *("--strict", "--no-deps", "--disable-pip", "--progress-spinner", "off", "--verbose"),
    *("--vulnerability-service", "osv", "--timeout", str(ANSWER_TIMEOUT)),
)
_ANSWERED = re.compile(r"^DEBUG:pip_audit\._cli:Auditing ", re.MULTILINE)
_LEFT_OUT = re.compile(r"^WARNING:pip_audit\._service\.\w+:(.+)$", re.MULTILINE)
_REASON = re.compile(r"^(?:ERROR:[\w.]+:|[\w.]*?\.?(?=\w+(?:Error|Exception|Timeout|Version): ))")
_UNTOLD = Advice(problem="The check gave no answer about this version.")


def advise(
    pins: Iterable[Pair],
    osv_url: str = "",
    advisory_file: Path | None = None,
    timeout: float = TIMEOUT,
) -> dict[Pair, Advice]:
    """Return what is known against each pair of a name and a version; none is ever left out.

    `osv_url` is where OSV answers queries; blank: its own public address. It may hold a user and a
    password, which no command line and no problem shows. With `advisory_file` (see `osv_records`)
    nobody is asked. What could not be checked within `timeout` seconds, or of which pip-audit left
    out a part, has a problem: it is unknown, never safe. Raises nothing for that.
    """
    wanted = {pair: _normalised(pair) for pair in pins}
    sound = sorted({normal for normal in wanted.values() if normal is not None})
    if advisory_file is not None:
        found: Mapping[Pair, Advice] = advise_from_records(sound, advisory_file)
    else:
        found = _Audit(osv_url, timeout).advise(sound)
    return {
        pair: _not_checkable(pair) if normal is None else found.get(normal, _UNTOLD)
        for pair, normal in wanted.items()
    }


def _normalised(pair: Pair) -> Pair | None:
    """As pip-audit spells it; None for what is no name or no version."""
    version = parsed_version(pair[1])
    try:
        name = canonicalize_name(pair[0], validate=True)
    except InvalidName:
        return None
    return None if version is None else (name, str(version))


def _not_checkable(pair: Pair) -> Advice:
    return Advice(problem=f"{pair[0]!r} at {pair[1]!r}: no name and version that can be looked up.")


def _parts(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Parts to ask for at once: pip-audit refuses a file with two versions of a package."""
    parts: list[dict[str, str]] = []
    for name, version in pairs:
        free = (part for part in parts if name not in part and len(part) < MOST_IN_A_RUN)
        part = next(free, None)
        if part is None:
            parts.append({name: version})
        else:
            part[name] = version
    return [list(part.items()) for part in parts]


class _Stopped(AdvisoriesUnavailable):
    """pip-audit gave up at one pair; `answered` is how many before it had their answer."""

    def __init__(self, reason: str, answered: Sequence[str] = ()) -> None:
        super().__init__(_problem(reason))
        self.answered = len(answered)


class _Audit:
    """One check of many pairs: several runs of pip-audit at once, and again where one failed."""

    def __init__(self, osv_url: str, timeout: float) -> None:
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._answers = 0
        self._refusals = 0
        # The address by the environment: everybody on the machine can read command lines.
        self._own = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        if osv_url:
            self._own["PIP_AUDIT_OSV_URL"] = osv_url

    def advise(self, pairs: Sequence[Pair]) -> dict[Pair, Advice]:
        found: dict[Pair, Advice] = {}
        with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
            for told in pool.map(self._ask_apart, _parts(pairs)):
                found |= told
        return found

    def _ask_apart(self, pairs: Sequence[Pair]) -> dict[Pair, Advice]:
        """Ask for all at once, and in parts where that fails: one bad answer hides no other."""
        try:
            advice = self._ask(pairs)
        except _Stopped as stopped:
            return self._ask_around(pairs, stopped)
        self._answers += 1
        return advice

    def _ask_around(self, pairs: Sequence[Pair], stopped: "_Stopped") -> dict[Pair, Advice]:
        self._answers += bool(stopped.answered)
        self._refusals += len(pairs) == 1
        if len(pairs) == 1 or self._is_in_vain:
            return dict.fromkeys(pairs, Advice(problem=str(stopped)))
        bad = min(stopped.answered, len(pairs) - 1)
        parts = (pairs[:bad], pairs[bad : bad + 1], pairs[bad + 1 :])
        found: dict[Pair, Advice] = {}
        for part in filter(None, parts):
            found |= self._ask_apart(part)
        return found

    @property
    def _is_in_vain(self) -> bool:
        is_dead = self._refusals >= ENOUGH_REFUSALS and not self._answers
        return is_dead or time.monotonic() >= self._deadline

    def _ask(self, pairs: Sequence[Pair]) -> dict[Pair, Advice]:
        with tempfile.TemporaryDirectory(prefix="deploy_manager-") as folder:
            done = self._run(pairs, Path(folder))
        errors = done.stderr.decode(errors="replace")
        try:
            told = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError, TypeError):
            raise _Stopped(_reason(errors), _ANSWERED.findall(errors)) from None
        left_out = _LEFT_OUT.search(errors)
        if left_out and len(pairs) > 1:
            raise _Stopped(left_out[1], _ANSWERED.findall(errors[: left_out.start()]))
        return _read(told, _problem(left_out[1]) if left_out else "")

    def _run(self, pairs: Sequence[Pair], folder: Path) -> "subprocess.CompletedProcess[bytes]":
        pinned = folder / "requirements.txt"
        pinned.write_text("".join(f"{name}=={version}\n" for name, version in pairs))
        files = ("--cache-dir", str(folder / "cache"), "--requirement", str(pinned))
        try:
            return subprocess.run(
                [sys.executable, "-P", trust.__file__, "pip_audit", *_OPTIONS, *files],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=folder,
                env={**minimal_environment(folder), **self._own},
                timeout=max(0.0, self._deadline - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _Stopped(f"not within {self._timeout:g} s") from None


def _read(told: list[dict[str, Any]], problem: str) -> dict[Pair, Advice]:
    """Read pip-audit's report, where what was skipped has no version: nothing is told of it."""
    return {
        (one["name"], one["version"]): Advice(
            one_for_each(
                known_advisory(
                    one["name"],
                    [found["id"], *found["aliases"]],
                    found["description"],
                    found["fix_versions"],
                )
                for found in one["vulns"]
            ),
            problem,
        )
        for one in told
        if "version" in one
    }


def _reason(errors: str) -> str:
    """The last line of what pip-audit wrote that says why, of a traceback or of its own."""
    lines = [line for line in errors.splitlines() if line.strip()]
    told = [_REASON.sub("", line) for line in lines if _REASON.match(line)]
    return [*lines[-1:], *told][-1] if lines else "pip-audit said nothing"


def _problem(reason: str) -> str:
    return mask_text(f"Advisories could not be asked for: {reason}")[:LONGEST_PROBLEM]
