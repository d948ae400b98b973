"""The program's start: reads from stdin what is wanted, and previews, tests or applies it as root.

With an argument, the name of a site, it is the one that sudo allows: then only what
/etc/deploy_manager/<site>.json allows is done, whatever stands on stdin.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import sys
from typing import Any

from . import allowed, files, state
from .running import TierError

ACTIONS = ("preview", "test", "apply")
LOCK = "/run/deploy_manager_tiers.lock"


def main() -> None:
    facts = json.load(sys.stdin)
    try:
        if len(sys.argv) > 1:
            allowed.check(sys.argv[1], facts)
        with open(LOCK, "w") as lock:
            # Sites share web servers and databases: one of them is changed at a time.
            fcntl.flock(lock, fcntl.LOCK_EX)
            _work(facts)
    except TierError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or ''}: {error.strerror}".lstrip(": "))


def _work(facts: dict[str, Any]) -> None:
    os.umask(0o022)
    action, known = facts["action"], state.State(facts["site"])
    if action not in ACTIONS:
        raise TierError(f"There is no action {action}.")
    for tier in facts["tiers"]:
        known.set_aside(tier["name"], tier["kind"])
        print(f"{tier['name']} ({tier['kind']})", flush=True)
        module = _module_of(tier["kind"])
        wanted = _function(module, "complete")(files.choose(tier))
        _function(module, action)(wanted, known)
    if facts["keep"] is not None:
        for name in known.others(facts["keep"]):
            _function(_module_of(known.tiers[name]["kind"]), "remove")(name, known)
    elif action == "preview":
        for name in known.others([tier["name"] for tier in facts["tiers"]]):
            print(f"{name}: would be removed from this server.")


def _function(module: Any, name: str) -> Any:
    """Return what a kind does in its own way, or the usual way."""
    return getattr(module, name, None) or getattr(files, name)


def _module_of(kind: str) -> Any:
    """Return a kind's own module, or the usual one, for which a tier is files and a unit."""
    name = f"{__package__}.of_{kind}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else files
