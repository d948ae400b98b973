"""A site's folders on its server, and the release that is current."""

from __future__ import annotations

import json
import os
import re
import shlex
from contextlib import suppress
from typing import Any

Facts = dict[str, Any]
"""What a deployment tells this program: see recipes/processes.py."""

PROGRAM = "processes.pyz"
FACTS = "processes.json"
FOR_UNITS = "variables.env"


class Place:
    """A deploy path, with the release that was current when this was asked for."""

    def __init__(self, path: str, folder: str = "") -> None:
        self.path = path
        self.tools = os.path.join(path, ".deploy")
        self.current = os.path.join(path, "current")
        self.releases = os.path.realpath(os.path.join(path, "releases"))
        self.release_path = os.path.realpath(self.current)
        self.release = os.path.basename(self.release_path)
        self.code = os.path.normpath(os.path.join(self.release_path, folder))
        self.program = os.path.join(self.tools, PROGRAM)

    @property
    def venv(self) -> str:
        return os.path.realpath(os.path.join(self.release_path, "venv"))

    @property
    def python(self) -> str:
        return os.path.join(self.venv, "bin", "python")

    @property
    def current_python(self) -> str:
        """The same by `current`: of whatever release that leads to when it is executed."""
        return os.path.join(self.current, "venv", "bin", "python")

    def variables(self) -> dict[str, str]:
        """Return the release's variables; early releases have them in the code."""
        path = os.path.join(self.tools, "environment", self.release)
        if not os.path.exists(path):
            path = os.path.join(self.release_path, ".deploy.env")
        # Quoted `export NAME=value` lines: see recipes/code.py.
        words = shlex.split(read(path).decode("utf-8", "surrogateescape"), comments=True)
        pairs = (word.partition("=") for word in words if word != "export")
        return {name: value for name, _equals, value in pairs}

    def write_for_units(self) -> None:
        """Write the variables as systemd's EnvironmentFile= reads them, which knows no `export`."""
        own = {**self.variables(), "DEPLOY_PATH": self.path}
        lines = (f"{name}={_quoted_for_systemd(value)}\n" for name, value in own.items())
        write(os.path.join(self.tools, FOR_UNITS), "".join(lines))

    def settings_module(self, variables: dict[str, str], named: str = "") -> str:
        """Return the settings module of the site; blank if nothing names one.

        The one of its variables, the environment's, or the one that manage.py falls back to.
        """
        return variables.get("DJANGO_SETTINGS_MODULE") or named or self._from_manage_py()

    def _from_manage_py(self) -> str:
        text = read(os.path.join(self.code, "manage.py")).decode("utf-8", "replace")
        found = re.search(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([A-Za-z_][\w.]*)["']""", text)
        return found.group(1) if found else ""

    def stored_facts(self, name: str = FACTS) -> Facts:
        """Return the facts that were last applied here; empty if there are none."""
        text = read(os.path.join(self.tools, name))
        return json.loads(text) if text else {}

    def forget_facts(self) -> None:
        """Nothing of ours is to run here any more."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.tools, FACTS))

    def store_facts(self, facts: Facts, name: str = FACTS) -> None:
        write(os.path.join(self.tools, name), json.dumps(facts, sort_keys=True))


def find_deployed(path: str) -> tuple[Place, Facts]:
    """Return a deploy path with the facts that were last applied there; empty if there are none."""
    facts = Place(path).stored_facts()
    return Place(path, facts.get("folder", "")), facts


def socket_file(bind: str) -> str:
    """Return the path in an address like unix:/path; blank for host:port."""
    return bind[len("unix:") :] if bind.startswith("unix:") else ""


def _quoted_for_systemd(value: str) -> str:
    """See EnvironmentFile= in systemd.exec(5)."""
    return '"' + re.sub(r'(["\\\\$`])', r"\\\1", value) + '"'


def read(path: str) -> bytes:
    """Return a file's content; empty if it does not exist."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        return file.read()
    return b""


def end_of(data: bytes, most: int) -> str:
    """Return the end of a log, at most so many bytes, in whole lines.

    What began within a line could begin within a secret: the worker would not know it as one.
    """
    if len(data) > most:
        data = data[-most:].partition(b"\n")[2] or b"(The last line is too long to be shown.)"
    return data.decode("utf-8", "replace").strip()


def write(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file that appears complete or not at all."""
    beside = f"{path}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    os.replace(beside, path)
