"""What was put into effect on this server for a site: so that it can be ended, and finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from typing import Any

from .running import TierError

FOLDER = "/var/lib/deploy_manager/tiers"


class State:
    """A file of root's, which everybody may read: it holds no secrets."""

    def __init__(self, site: str) -> None:
        if not re.fullmatch(r"[a-z0-9_-]{1,120}", site):
            raise TierError(f"{site!r} is not the name of a site.")
        self._path = f"{FOLDER}/{site}.json"
        self.tiers: dict[str, dict[str, Any]] = {}
        try:
            with open(self._path) as file:
                self.tiers = json.load(file)
        except FileNotFoundError:
            pass
        except ValueError:
            raise TierError(f"{self._path} can't be read: look at it, and remove it.") from None

    def others(self, names: Iterable[str]) -> list[str]:
        """Return the tiers that are here and not among these."""
        return sorted(set(self.tiers) - set(names))

    def is_owed(self, name: str) -> bool:
        """Whether files were switched and what reads them was not seen to have read them."""
        return bool(self.tiers.get(name, {}).get("owed"))

    def is_shared(self, path: str) -> bool:
        """Whether another site of this server has the file, too."""
        for name in os.listdir(FOLDER):
            other = os.path.join(FOLDER, name)
            if other == self._path or not name.endswith(".json"):
                continue
            with open(other) as file:
                if any(path in each.get("paths", ()) for each in json.load(file).values()):
                    return True
        return False

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
