"""Start one process of a site: `processes.pyz launch <deploy path> <name> <instance>`.

It becomes that process. Everything is that of the release that is current at this moment: code,
virtual environment, variables. A process never imports code of a later one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys

from .place import Facts, Place, find_deployed, socket_file
from .wanted import Process, is_one_program, wanted_here

ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

HIDDEN = "DEPLOY_HIDDEN"
NAMES_SET = "DEPLOY_VARIABLES"
"""The variable that lists those which the site's variables, or this program, have set."""

FIRST_SOCKET = 3
"""Where systemd hands over the first one: SD_LISTEN_FDS_START, sd_listen_fds(3)."""


def launch(path: str, name: str, instance: str) -> None:
    """Become an instance of a process. Ends with the reason if it is not known here."""
    place, facts = find_deployed(path)
    found = [process for process in wanted_here(facts, place) if process.name == name]
    if not found:
        sys.exit(f"{path} has no process {name} in release {place.release}.")
    os.umask(0o022)
    become(found[0], instance, place, facts)


def become(process: Process, instance: str, place: Place, facts: Facts) -> None:
    """Replace this program by a process of the site."""
    environment = environment_for(process, place, facts, instance)
    os.chdir(place.code)
    if process.hands_over:
        # By `current`: a later gunicorn, which this one starts itself, finds the later release.
        python = place.current_python
        os.execve(python, [python, place.program, "serve", place.path], environment)
    if process.kind == "asgi" and not process.command:
        words = [place.python, place.program, "serve-asgi", place.path, str(process.number)]
        os.execve(place.python, words, environment)
    line = command_of(process, instance, place, environment)
    # `exec`, so that signals reach the program itself, unless the line is more than one command.
    if is_one_program(line):
        line = f"exec env {line}" if ASSIGNMENT.match(line) else f"exec {line}"
    os.execve("/bin/sh", ["sh", "-c", line], environment)


def environment_for(
    process: Process, place: Place, facts: Facts, instance: str = "1"
) -> dict[str, str]:
    """Return the environment of a process: that of who starts it, with the site's variables.

    What this program has set before is taken away first, as a gunicorn starts its successor.
    """
    had = os.environ.get(NAMES_SET, "").split()
    hidden = json.loads(os.environ.get(HIDDEN, "{}"))
    inherited = {name: value for name, value in os.environ.items() if name not in had} | hidden
    variables = place.variables()
    path = variables.get("PATH", inherited.get("PATH", os.defpath))
    own = {
        "PATH": f"{place.venv}/bin:{path}",
        "VIRTUAL_ENV": place.venv,
        "PWD": place.code,
        "DEPLOY_PATH": place.path,
        "DEPLOY_RELEASE": place.release,
        "DEPLOY_PROCESS": f"{process.name}@{instance}",
    }
    module = place.settings_module(variables, facts["settings"])
    if module:
        own["DJANGO_SETTINGS_MODULE"] = module
    if process.bind:
        own["PORT"] = process.bind.rpartition(":")[2]
    ours = {**variables, **own}
    names = " ".join(sorted({*ours, NAMES_SET, HIDDEN}))
    # What they hide, for a gunicorn that starts its successor, which may have other variables.
    hides = {name: value for name, value in inherited.items() if name in ours}
    return {**inherited, **ours, NAMES_SET: names, HIDDEN: json.dumps(hides, sort_keys=True)}


def command_of(process: Process, instance: str, place: Place, variables: dict[str, str]) -> str:
    """Return the line of sh that a process is, its placeholders filled in."""
    if not process.is_template:
        return process.command
    host, _colon, port = process.bind.rpartition(":")
    values = {
        "name": process.name,
        "instance": instance,
        "number": str(process.number),
        "workers": str(process.number),
        "python": place.python,
        "application": application_of(process, variables),
        "deploy_path": place.path,
        "shared": os.path.join(place.path, "shared"),
        "release": place.release,
        "bind": process.bind,
        "host": host.strip("[]"),
        "port": port,
        "socket": socket_file(process.bind),
        "fd": str(FIRST_SOCKET),
    }
    template = process.command or COMMANDS[process.kind]
    return template.format(**{name: shlex.quote(value) for name, value in values.items()})


COMMANDS = {
    "worker": "{python} -m celery --app {application} worker --loglevel INFO"
    " --hostname {name}-{instance}@%h",
    # Not in the code: a release that is removed would take the times of the last runs with it.
    # Without a pid file: what a power cut leaves of it keeps beat from starting, if its number is
    # another process's by then.
    "beat": "{python} -m celery --app {application} beat --loglevel INFO --pidfile="
    " --schedule {deploy_path}/.deploy/celerybeat-schedule",
}


def application_of(process: Process, variables: dict[str, str]) -> str:
    """Return the row's, or the name that a project template gives it: the settings' package."""
    if process.application:
        return process.application
    package = variables.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0]
    return f"{package}.{process.kind}:application" if process.is_web else package
