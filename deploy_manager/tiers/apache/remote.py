"""Apache on a server: addresses that files of others listen at already get no Listen of ours."""

from __future__ import annotations

import re
from dataclasses import replace

from . import files
from .files import Wanted
from .running import attempt
from .state import State

FOLDER = "/etc/apache2/sites-enabled/"
MODULE = "/usr/lib/apache2/modules/mod_info.so"
BLOCK = re.compile(
    r"<IfDefine !listens_\w+>\n.*?\n    Listen (?P<host>\S+):(?P<port>\d+) .*?\n</IfDefine>\n",
    re.DOTALL,
)


def complete(wanted: Wanted) -> Wanted:
    """Take the Listen of an address out that Apache listens at by another file."""
    others = _listens_of_others()

    def unless_known(found: re.Match[str]) -> str:
        host, port = found["host"], found["port"]
        if (host, port) not in others and ("*", port) not in others:
            return found[0]
        print(f"Apache listens at {host}:{port} by another file.")
        return ""

    contents = {
        path: BLOCK.sub(unless_known, content.decode()).encode()
        for path, content in wanted.contents.items()
    }
    return replace(wanted, contents=contents)


def remove(name: str, known: State) -> None:
    """End a tier; Apache as well, if it would listen nowhere: it can't run so. Raises TierError."""
    entry = known.tiers[name]
    is_used = any(each.get("unit") == entry["unit"] for each in known.neighbours(name))
    is_readable = attempt("apache2ctl", "-t").returncode == 0
    if is_readable and not is_used and not _listens_of_others():
        print(f"Nothing else listens by {entry['unit']}: it is stopped and disabled.")
        entry["own_unit"] = True
    files.remove(name, known)


def _listens_of_others() -> set[tuple[str, str]]:
    """Return (host, port) of each Listen in files that are not ours, as Apache itself reads them.

    Nothing if Apache can't read its files: then its own test says why.
    """
    load = ("-C", f"LoadModule info_module {MODULE}")
    done = attempt("apache2ctl", *load, "-t", "-D", "DUMP_CONFIG")
    found, is_ours = set(), False
    for line in done.stdout.splitlines() if not done.returncode else ():
        if line.startswith("# In file: "):
            path = line.removeprefix("# In file: ")
            is_ours = path.startswith(FOLDER) and _is_written_by_us(path)
        elif not is_ours and (words := line.split())[:1] == ["Listen"]:
            host, _colon, port = words[1].rpartition(":")
            found.add((host if host not in {"", "0.0.0.0"} else "*", port))
    return found


def _is_written_by_us(path: str) -> bool:
    with open(path, errors="replace") as file:
        return "written by deploy_manager" in file.readline()
