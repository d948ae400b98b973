"""Caddy on a server: its one file, which takes in ours, and an API that only root can reach."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from . import files
from .files import Wanted, content_of
from .running import TierError, call
from .state import State

MAIN = "/etc/caddy/Caddyfile"
IMPORT = "import /etc/caddy/deploy_manager/*.caddyfile"
OURS = b"""\
# Written by deploy_manager, which replaces what is changed here.
{
	# The API by which Caddy is reloaded, for its own account only.
	admin unix//var/lib/caddy/admin.sock
	# Certificates are files; and nothing listens that was not asked for.
	auto_https off
	servers {
		protocols h1 h2
	}
}
import /etc/caddy/deploy_manager/*.caddyfile
"""


def complete(wanted: Wanted) -> Wanted:
    """Add Caddy's main file, if it is its package's or ours. Raises TierError for another one."""
    # As its unit does it. Caddy does not tell systemd if it refuses, which waits 90 seconds.
    reload = ("caddy", "reload", "--config", MAIN, "--adapter", "caddyfile", "--force")
    wanted, before = replace(wanted, reload=reload), content_of(MAIN)
    if before == OURS:
        return replace(wanted, contents={**wanted.contents, MAIN: OURS}, modes=_modes(wanted))
    if before is not None and not _is_replaceable(before):
        if not re.search(rf"^\s*{re.escape(IMPORT)}\s*$", before.decode(errors="replace"), re.M):
            raise TierError(f"{MAIN} has sites of its own: add the line {IMPORT}")
        return wanted
    return replace(
        wanted,
        contents={**wanted.contents, MAIN: OURS},
        modes=_modes(wanted),
        restarts=True,  # a reload would look for the API where it is not yet
    )


def remove(name: str, known: State) -> None:
    entry = known.tiers[name]
    # Without it Caddy would not start, and other sites may be in it.
    entry["paths"] = [path for path in entry["paths"] if path != MAIN]
    files.remove(name, known)


def _modes(wanted: Wanted) -> dict[str, tuple[int, str]]:
    return {**wanted.modes, MAIN: (0o644, "root")}


def _is_replaceable(content: bytes) -> bool:
    """Whether the file is as its package brought it, or an earlier one of ours."""
    if content.startswith(OURS.splitlines()[0]):
        return True
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    listed = call("dpkg-query", "--show", "--showformat", "${Conffiles}", "caddy")
    return f"{MAIN} {digest}" in listed
