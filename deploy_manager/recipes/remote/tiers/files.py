"""A tier that is files and a unit: shown, tested, switched, proven, and taken back."""

from __future__ import annotations

import difflib
import errno
import grp
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from . import foreseeing, proving, trying, units
from .running import MASK, TierError, masked, said_by
from .state import State

BESIDE = "/var/lib/deploy_manager/beside"
"""Where files are completed before they are renamed: some programs read all in a folder."""


@dataclass(frozen=True)
class Wanted:
    """One tier as it is to be here."""

    name: str
    kind: str
    label: str
    contents: Mapping[str, bytes]
    """What each of its files is to hold, by path."""

    modes: Mapping[str, tuple[int, str]]
    test: tuple[str, ...]
    unit: str
    restarts: bool = False
    proofs: tuple[Mapping[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    own: Mapping[str, Any] = field(default_factory=dict)
    certificate: str = ""
    certificate_key: str = ""
    own_unit: bool = False
    reload: tuple[str, ...] = ()
    """A command in place of systemctl reload: of a kind's own module, never of what was sent."""


def choose(tier: dict[str, Any]) -> Wanted:
    """Return what is wanted here: without https as long as there is no certificate."""
    chosen, certificate = tier, tier.get("certificate")
    if certificate and not os.path.exists(certificate):
        if tier.get("without_certificate") is None:
            raise TierError(f"The certificate {certificate} is not there: put it there first.")
        print(f"There is no certificate {certificate} yet: only http is served until it is there.")
        chosen = tier["without_certificate"]
    return Wanted(
        name=tier["name"],
        kind=tier["kind"],
        label=tier["label"],
        contents={file["path"]: file["text"].encode() for file in chosen["files"]},
        modes={file["path"]: (file["mode"], file["group"]) for file in chosen["files"]},
        test=tuple(chosen["test"]),
        unit=chosen["unit"],
        restarts=chosen["restarts"],
        proofs=tuple(chosen["proofs"]),
        secrets=tuple(tier["secrets"]),
        own=chosen["own"],
        certificate=chosen["certificate"],
        certificate_key=chosen["certificate_key"],
        own_unit=chosen["own_unit"],
    )


def complete(wanted: Wanted) -> Wanted:
    """Return what is wanted with what only this server knows; a kind's own module may add to it."""
    return wanted


def preview(wanted: Wanted, known: State) -> None:
    """Print the differences between what is here and what is wanted."""
    changes = changed_files(wanted, known)
    for path, content in changes.items():
        _print_difference(path, content, wanted)
    if not changes and not known.is_owed(wanted.name):
        print("Nothing would change.")


def test(wanted: Wanted, known: State) -> None:
    """Have the server's own program judge the files before anything changes. Raises TierError."""
    if not (changes := changed_files(wanted, known)):
        print("Nothing changes.")
        return
    foreseeing.check(wanted)
    judged = trying.judge(changes, wanted.test)
    if judged is None:
        print(
            "It can't be tested beforehand on this machine, which has no namespaces: it is tested"
            " when it is applied, and taken back if that fails."
        )
    elif judged.returncode:
        raise TierError(masked(f"{' '.join(wanted.test)}: {said_by(judged)}", wanted.secrets))
    else:
        print("The new configuration is valid.")


def apply(wanted: Wanted, known: State) -> None:
    """Switch to the files that are wanted, and prove it; else take them back. Raises TierError."""
    changes = changed_files(wanted, known)
    is_owed = known.is_owed(wanted.name)
    if not changes and not is_owed and units.is_running(wanted.unit):
        if proving.is_proven(wanted):
            print("Nothing has changed.")
            return
        print(f"{wanted.unit} answers by something else than its files: it reads them anew.")
    foreseeing.check(wanted)
    for path, content in changes.items():
        _print_difference(path, content, wanted)
    served = proving.others_served(wanted, known.neighbours(wanted.name))
    with taken_back_on_error(wanted, changes, known, served):
        _switch(wanted, changes)
        judged = trying.judge({}, wanted.test)
        if judged is not None and judged.returncode:
            raise TierError(masked(f"{' '.join(wanted.test)}: {said_by(judged)}", wanted.secrets))
        units.bring(wanted.unit, wanted.restarts, wanted.reload)
        proving.prove(wanted)
        proving.prove_others(served)
    known.put(wanted.name, owed=False, proofs=list(wanted.proofs))
    print("In effect.")


def remove(name: str, known: State) -> None:
    """End a tier that is not wanted here any more: take its files away. Raises TierError."""
    entry = known.tiers[name]
    print(f"{name} ({entry['kind']}): removed from this server.")
    if entry.get("own_unit"):
        units.end(entry["unit"])
    for path in entry["paths"]:
        # Of an address that two tiers listen on, both have the file.
        if os.path.lexists(path) and not known.is_shared(name, path):
            os.unlink(path)
    if not entry.get("own_unit") and units.is_running(entry["unit"]):
        units.bring(entry["unit"], entry["restarts"])
    known.drop(name)


def changed_files(wanted: Wanted, known: State) -> dict[str, bytes | None]:
    """Return what files are to hold that hold something else; None: the file is to go."""
    changes: dict[str, bytes | None] = {
        path: content
        for path, content in wanted.contents.items()
        if content_of(path) != content or _mode_of(path) != wanted.modes[path][0]
    }
    for path in known.tiers.get(wanted.name, {}).get("paths", ()):
        if (
            path not in wanted.contents
            and os.path.lexists(path)
            and not known.is_shared(wanted.name, path)
        ):
            changes[path] = None
    return changes


@contextmanager
def taken_back_on_error(
    wanted: Wanted,
    changes: Mapping[str, bytes | None],
    known: State,
    served: Iterable[proving.Proof],
) -> Iterator[None]:
    """Note what is about to change; bring back what was here if that fails. Raises TierError.

    `served` is what was answered for other tiers: it is waited for as well.
    """
    before = {path: content_of(path) for path in changes}
    paths = sorted({*known.tiers.get(wanted.name, {}).get("paths", ()), *wanted.contents})
    was_running = units.is_running(wanted.unit)
    known.put(
        wanted.name,
        kind=wanted.kind,
        label=wanted.label,
        unit=wanted.unit,
        restarts=wanted.restarts,
        own_unit=wanted.own_unit,
        paths=paths,
        owed=True,
    )
    try:
        yield
    except (TierError, OSError) as error:
        if wanted.own_unit and not was_running:
            units.end(wanted.unit)
        if not before:
            # Of files that an earlier run has switched, nobody knows what was there before them.
            raise TierError(f"{error}\nIts files are as wanted, but not in effect.") from None
        _switch(wanted, before)
        after = _bring_back(wanted, known, was_running, served)
        if not any(os.path.lexists(path) for path in paths):
            known.drop(wanted.name)
        else:
            known.put(wanted.name, owed=bool(after))
        outcome = after or "what was here before is in effect."
        raise TierError(f"{error}\nTaken back: {outcome}") from None


def _bring_back(
    wanted: Wanted, known: State, was_running: bool, served: Iterable[proving.Proof]
) -> str:
    """Have the server read what was there before; return what is wrong then, blank: nothing."""
    if not was_running:
        units.stop(wanted.unit)
        return ""
    old = known.tiers.get(wanted.name, {}).get("proofs", ())
    # Without those that need a password: the old one is known to nobody here.
    proofs = tuple(each for each in old if each["digest"])
    try:
        units.bring(wanted.unit, wanted.restarts, wanted.reload)
        proving.prove(replace(wanted, proofs=proofs, certificate=""))
    except TierError as error:
        return str(error)
    # A new tier has no proofs of before, and a reload takes a moment: the others tell its end.
    asked = proving.first_unanswered(served)
    return f"{asked} is not answered as it was." if asked else ""


def content_of(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _mode_of(path: str) -> int:
    return os.stat(path).st_mode & 0o777 if os.path.exists(path) else -1


def _switch(wanted: Wanted, changes: Mapping[str, bytes | None]) -> None:
    os.makedirs(BESIDE, mode=0o700, exist_ok=True)
    for path, content in changes.items():
        if content is None:
            if os.path.lexists(path):
                os.unlink(path)
            continue
        mode, group = wanted.modes.get(path, (0o644, "root"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, content, mode, group)


def write(path: str, content: bytes, mode: int, group: str) -> None:
    """Write a file so that it is complete at any time, even if the power is cut."""
    beside = os.path.join(BESIDE, os.path.basename(path))
    _complete(beside, content, mode, group)
    try:
        os.replace(beside, path)
    except OSError as error:
        os.unlink(beside)
        if error.errno != errno.EXDEV:
            raise
        # /etc may be a file system of its own: then beside it, under a hidden name.
        hidden = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
        _complete(hidden, content, mode, group)
        os.replace(hidden, path)


def _complete(path: str, content: bytes, mode: int, group: str) -> None:
    """Write a file that nobody else may read before it has its owner and its mode."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # one that is left of a power cut has other rights
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchown(descriptor, 0, grp.getgrnam(group).gr_gid)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def _print_difference(path: str, content: bytes | None, wanted: Wanted) -> None:
    before = (content_of(path) or b"").decode(errors="replace").splitlines()
    after = (content or b"").decode(errors="replace").splitlines()
    lines = difflib.unified_diff(
        before, after, path, "removed" if content is None else "wanted", lineterm=""
    )
    shown = masked("\n".join(lines), wanted.secrets)
    print(_without_old_secrets(shown) or f"{path}: its mode", flush=True)


def _without_old_secrets(difference: str) -> str:
    """Mask what stands where a secret is to stand: another one, that may be known elsewhere."""
    lines = difference.splitlines()
    begins = [
        line[1:].partition(MASK)[0] for line in lines if line.startswith("+") and MASK in line
    ]
    return "\n".join(
        next((f"-{each}{MASK}" for each in begins if line.startswith(f"-{each}")), line)
        for line in lines
    )
