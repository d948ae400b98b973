"""The journal of a deployment's commands: which began, their output and exit codes."""

from __future__ import annotations

import os

from .files import boot_id, read_json, reserve, write_json, write_reserved
from .groups import Group
from .lean import remove_tree, sha256, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_GROUP = Group(0, 0, "")
UNREADABLE = {"digest": ""}
"""A command whose file did not survive a power cut: known only to have begun."""

KEPT = 3
"""Number of deployments of one site whose journals are kept."""


def digest_of(script: str) -> str:
    return str(sha256(script.encode()).hexdigest())


class Entry:
    """One command of one step."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def command(self) -> dict[str, Any]:
        """The recorded command; empty if it never began."""
        if not os.path.isdir(self.folder):
            return {}
        return read_json(os.path.join(self.folder, "command.json")) or UNREADABLE

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None if it was not seen to end."""
        code = self._ended.get("code")
        return code if isinstance(code, int) else None

    @property
    def problem(self) -> str:
        """Why the guard ended it early; blank if it did not."""
        return str(self._ended.get("problem", ""))

    @property
    def _ended(self) -> dict[str, Any]:
        return read_json(os.path.join(self.folder, "exit")) or {}

    @property
    def runs(self) -> bool:
        """Whether its processes still run, whether or not a guard watches them."""
        return self.exit_code is None and self.group.lives

    @property
    def group(self) -> Group:
        """Its process group; one that never lives if unknown, or from another boot."""
        command = self.command
        if command.get("boot") != boot_id() or not command.get("leader_began"):
            return NO_GROUP
        return Group(command["group"], command["leader_began"], command["mark"])

    def begin(self, digest: str) -> None:
        """Record that it is about to begin, before it does. Raises OSError."""
        self.forget()
        os.makedirs(self.folder, mode=0o700)
        # Space for the exit code too: a command may itself fill the disk.
        for name in ("exit", "command.json"):
            reserve(os.path.join(self.folder, name))
        write_json(os.path.join(self.folder, "command.json"), _facts(digest, NO_GROUP))

    def note_group(self, digest: str, group: Group) -> None:
        """Record its process group, by which it can be found. Raises OSError."""
        write_reserved(os.path.join(self.folder, "command.json"), _facts(digest, group))

    def finish(self, code: int, problem: str) -> None:
        """Record how it ended. Raises OSError."""
        ended = {"code": code, "problem": problem}
        write_reserved(os.path.join(self.folder, "exit"), ended, lasts=True)

    def forget(self) -> None:
        """Remove it, as if it had never begun."""
        remove_tree(self.folder)


class Journal:
    """The commands of one deployment."""

    def __init__(self, root: str, key: str, deployment: int) -> None:
        self._root = os.path.join(root, "journal")
        self.folder = os.path.join(self._root, f"{key}-{deployment}")
        self._key = key

    def open(self, work: dict[str, Any]) -> None:
        """Create the journal of a deployment and remove old ones. Raises OSError."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        write_json(os.path.join(self.folder, "work.json"), work)
        # A key is a UUID in hexadecimal: none is the beginning of another one and a dash.
        names = (name for name in os.listdir(self._root) if name.startswith(self._key + "-"))
        others = {os.path.join(self._root, name) for name in names} - {self.folder}
        # By when they were opened: deployments do not begin in the order of their numbers.
        for folder in sorted(others, key=_opened_at)[: 1 - KEPT]:
            remove_tree(folder)

    def entry(self, step: int, index: int) -> Entry:
        return Entry(os.path.join(self.folder, f"{step}-{index}"))

    def forget_from(self, step: int, index: int) -> None:
        """Remove a command and all later ones of its step."""
        for name in self._names():
            its_step, its_index = map(int, name.split("-"))
            if its_step == step and its_index >= index:
                remove_tree(os.path.join(self.folder, name))

    def records(self) -> list[dict[str, Any]]:
        """Return the record of each command that belongs to a step, in order."""
        names = sorted(self._names(), key=lambda name: tuple(map(int, name.split("-"))))
        # Step 0 is for looking around: see LOOK in hosts/guarded.py.
        return [self._record(name) for name in names if not name.startswith("0-")]

    def running(self) -> list[Entry]:
        """Return the commands whose processes still run."""
        entries = [Entry(os.path.join(self.folder, name)) for name in self._names()]
        return [entry for entry in entries if entry.runs]

    def _record(self, name: str) -> dict[str, Any]:
        step, index = map(int, name.split("-"))
        entry = self.entry(step, index)
        code = entry.exit_code
        state = "ended" if code is not None else "running" if entry.runs else "unknown"
        return {"step": step, "index": index, "state": state, "exit_code": code}

    def _names(self) -> list[str]:
        with suppress(OSError):
            return [name for name in os.listdir(self.folder) if name[:1].isdigit()]
        return []


def running_elsewhere(root: str, mine: str) -> dict[str, Any] | None:
    """Return the deployment whose command still runs here without a guard, if there is one."""
    top = os.path.join(root, "journal")
    with suppress(OSError):
        for deployment in os.listdir(top):
            folder = os.path.join(top, deployment)
            if folder != mine and any(
                Entry(os.path.join(folder, name)).runs
                for name in os.listdir(folder)
                if name[:1].isdigit()
            ):
                return read_json(os.path.join(folder, "work.json")) or {}
    return None


def _facts(digest: str, group: Group) -> dict[str, Any]:
    return {
        "digest": digest,
        "group": group.number,
        "leader_began": group.leader_began,
        "mark": group.mark,
        "boot": boot_id(),
    }


def _opened_at(folder: str) -> int:
    """Nanoseconds; 0 if it was not written to the end."""
    with suppress(OSError):
        return os.stat(os.path.join(folder, "work.json")).st_mtime_ns
    return 0
