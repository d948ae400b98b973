"""Which processes a site has on this server: those of its rows, and of the release's Procfile."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from .place import Facts, Place, read

PROCFILE_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
WEB = ("wsgi", "asgi")
BEAT = re.compile(r"\bcelery\b.*\sbeat\b")
SHELL_SIGNS = re.compile(r"[;&|<>()\n`]|\$\(")
RELEASE_PHASE = "release"
"""What Heroku runs before a release serves. Here, migrations and build commands are."""


class Process(NamedTuple):
    """One thing that the site runs here; the fields of `recipes.host.Process`."""

    name: str
    kind: str
    command: str = ""
    application: str = ""
    number: int = 1
    bind: str = ""
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    stays_up: int = 10
    memory: int = 0
    health: str = "up"
    health_target: str = ""
    is_template: bool = True
    """Whether the command has placeholders in braces; a line of a Procfile has none."""

    @property
    def is_web(self) -> bool:
        return self.kind in WEB

    @property
    def hands_over(self) -> bool:
        """Whether a new gunicorn takes over from the old one: our own way to run it."""
        return self.kind == "wsgi" and not self.command

    def settles_in(self, seconds: float) -> float:
        """Return for how long it has to run; `seconds` for what answers, which tells more."""
        return seconds if self.is_web or self.health in ("ping", "http") else self.stays_up

    @property
    def is_wrapped(self) -> bool:
        """Whether it is served by our own program, whose answers can name the release."""
        return self.is_web and not self.command

    @property
    def takes_a_socket(self) -> bool:
        """Whether it serves on a socket that is opened for it: then none is lost on a restart."""
        if not self.is_web or self.hands_over:
            return False
        if not self.command or "{fd}" in self.command:
            return True
        # gunicorn takes the sockets of LISTEN_FDS, whatever its --bind says.
        return os.path.basename(words_of(self.command)[0]) == "gunicorn"

    @property
    def instances(self) -> list[str]:
        # The workers of a web process are its own; beat runs once.
        is_single = self.is_web or self.kind == "beat"
        return ["1"] if is_single else [str(each + 1) for each in range(self.number)]


def wanted_here(facts: Facts, place: Place) -> list[Process]:
    """Return the processes that are to run on this server, for the release that is current."""
    named = {row["name"]: Process(**row) for row in facts["processes"]}
    for name, command in _procfile(facts, place):
        row = named.get(name)
        if row is not None and not row.command:
            named[name] = row._replace(command=command, is_template=False)
        elif row is None and name not in facts["elsewhere"] and _belongs_here(name, command, facts):
            named[name] = _from_procfile(name, command, facts)
    has_web = facts["web_elsewhere"] or any(each.is_web for each in named.values())
    # One that is called web has a kind that is refused: it must not be hidden by ours.
    if facts["serves"] and not has_web and "web" not in named:
        named["web"] = Process("web", "wsgi", number=facts["workers"], bind=facts["bind"])
    # Where something else serves the site, the web's own processes are theirs.
    return sorted(each for each in named.values() if facts["serves"] or not each.is_web)


def _procfile(facts: Facts, place: Place) -> Iterator[tuple[str, str]]:
    """Yield names and commands. Beside manage.py, or at the top of the repository."""
    if not facts["procfile"]:
        return
    for folder in dict.fromkeys((place.code, place.release_path)):
        text = read(os.path.join(folder, "Procfile")).decode("utf-8", "replace")
        if text:
            for line in text.splitlines():
                found = PROCFILE_LINE.fullmatch(line.strip())
                if found and found.group(1) != RELEASE_PHASE:
                    yield found.group(1), found.group(2)
            return


def _belongs_here(name: str, command: str, facts: Facts) -> bool:
    """Whether a line of the Procfile runs on this server, by its roles.

    `web` belongs to app, any other to the role of its name; where no server has that role, to app.
    """
    roles = [name, "app"] if name != "web" else ["web", "app"]
    role = next((role for role in roles if role in facts["known_roles"]), "")
    if BEAT.search(command):
        return role in facts["first_in"] if role else facts["is_first"]
    return role in facts["roles"] if role else True


def _from_procfile(name: str, command: str, facts: Facts) -> Process:
    kind = "wsgi" if name == "web" else "beat" if BEAT.search(command) else "command"
    bind = facts["bind"] if name == "web" else ""
    return Process(name, kind, command, bind=bind, number=1, is_template=False)


def is_one_program(line: str) -> bool:
    """Whether a line of sh is one program, which can take the shell's place and get its signals."""
    return not SHELL_SIGNS.search(line) and not line.startswith("exec ")


def words_of(command: str) -> list[str]:
    try:
        return shlex.split(command) or [""]
    except ValueError:
        return command.split() or [""]
