"""What was put into effect on this server for a site: so that it can be ended, and finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .running import TierError

FOLDER = "/var/lib/deploy_manager/tiers"


class State:
    """A file of root's, which everybody may read: it holds no secrets."""

    def __init__(self, site: str) -> None:
        if not re.fullmatch(r"[a-z0-9_-]{1,120}", site):
            raise TierError(f"{site!r} is not the name of a site.")
        self._path = f"{FOLDER}/{site}.json"
        self.tiers = _read(self._path)

    def others(self, names: Iterable[str]) -> list[str]:
        """Return the tiers that are here and not among these."""
        return sorted(set(self.tiers) - set(names))

    def is_owed(self, name: str) -> bool:
        """Whether files were switched and what reads them was not seen to have read them."""
        return bool(self.tiers.get(name, {}).get("owed"))

    def is_shared(self, name: str, path: str) -> bool:
        """Whether another tier of this server has the file, too. Raises TierError."""
        return any(path in each.get("paths", ()) for each in self.neighbours(name))

    def neighbours(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield all tiers of this server, of any site, but this one. Raises TierError."""
        yield from (each for other, each in self.tiers.items() if other != name)
        for file in sorted(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else ():
            path = os.path.join(FOLDER, file)
            if path != self._path and file.endswith(".json"):
                yield from _read(path).values()

    def set_aside(self, name: str, kind: str) -> None:
        """Make room for a tier of another kind; what was there is ended like one not wanted."""
        there = self.tiers.get(name)
        if there is None or there["kind"] == kind:
            return
        self.tiers[f"former {there['kind']} {name}"] = self.tiers.pop(name)
        if back := self.tiers.pop(f"former {kind} {name}", None):
            self.tiers[name] = back

    def put(self, name: str, **values: Any) -> None:
        self.tiers[name] = {**self.tiers.get(name, {}), **values}
        self._write()

    def drop(self, name: str) -> None:
        self.tiers.pop(name, None)
        self._write()

    def _write(self) -> None:
        os.makedirs(FOLDER, exist_ok=True)
        if not self.tiers:
            os.unlink(self._path)
            return
        beside = f"{self._path}.new"
        with open(beside, "w") as file:
            json.dump(self.tiers, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self._path)


def _read(path: str) -> dict[str, dict[str, Any]]:
    try:
        with open(path) as file:
            found: dict[str, dict[str, Any]] = json.load(file)
            return found
    except FileNotFoundError:
        return {}
    except ValueError:
        raise TierError(f"{path} can't be read: look at it, and remove it.") from None
