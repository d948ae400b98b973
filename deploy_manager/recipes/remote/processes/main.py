"""The program: what it was started for, by its words, or by the facts on stdin.

Facts are those of `recipes.processes.facts_of`, with an action: *apply* makes the processes of this
server run the current release; *prove* that they do; *look* prints what runs, as JSON; *start* what
is down; *stop* all that was started for this site. Exits with 1 and the reason on stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from . import seen
from .gunicorn import make_secret
from .place import Facts, Place
from .proof import Prover
from .starter import Starter
from .supervisors import ServingError, Supervisor, choose
from .systemd import Systemd
from .wanted import Process, wanted_here
from .wsgi_file import write_wsgi_file

SUPERVISORS = ("starter", "systemd-user", "systemd")
BEFORE = "processes-before.json"
BOOT_SECONDS = 300
"""For so long after a boot it is tried to start what does not start: a database may be late."""


def main() -> None:
    words = sys.argv[1:]
    if words[:1] == ["launch"]:
        from .launch import launch

        launch(*words[1:])
    elif words[:1] == ["serve"]:
        from .serve import serve

        serve(words[1])
    elif words[:1] == ["serve-asgi"]:
        from .serve_asgi import serve_asgi

        serve_asgi(words[1], int(words[2]))
    elif words[:1] == ["boot"]:
        boot(words[1])
    else:
        carry_out(json.load(sys.stdin))


def carry_out(facts: Facts) -> None:
    """Do what the facts ask for; ends with 1 and the reason if that fails."""
    # As exceptions, so that `finally` and `except` still clean up when we are stopped.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit("Stopped before it was done."))
    place = Place(facts["deploy_path"], facts["folder"])
    try:
        ACTIONS[facts["action"]](place, facts)
    except ServingError as error:
        sys.exit(str(error))


def apply(place: Place, facts: Facts) -> None:
    """Make the processes of this server run the current release, and end what is not wanted."""
    name = choose(facts["supervisor"])
    chosen = open_supervisor(name, place, facts)
    store(place, facts)
    wanted = wanted_here(facts, place)
    for process in wanted:
        if process.kind == "command" and not process.command:
            raise ServingError(f"{process.name} has no command, neither here nor in a Procfile.")
    for other in SUPERVISORS:
        if other != name:
            open_supervisor(other, place, facts).end_others([])
    chosen.end_others(wanted)
    for process in wanted:
        chosen.bring(process)
    starter = Starter(place, facts)
    if name == "starter" and wanted and facts["at_boot"]:
        said = starter.keep_after_reboot()
        print(said) if said else None
    else:
        starter.forget_after_reboot()
    for process in wanted:
        print(f"{process.name} runs release {place.release}, supervised by {name}.", flush=True)


def again(place: Place, facts: Facts) -> None:
    """Run what the last deployment but this one ran, with the release that is current."""
    before = place.stored_facts(BEFORE)
    if before:
        apply(place, before)


def store(place: Place, facts: Facts) -> None:
    """Write what units and successors read when they start, and the program they start."""
    if place.stored_facts():
        place.store_facts(place.stored_facts(), BEFORE)
    place.store_facts({key: value for key, value in facts.items() if key != "action"})
    make_secret(place)
    beside = f"{place.program}.{os.getpid()}"
    os.symlink(os.path.realpath(sys.argv[0]), beside)
    os.replace(beside, place.program)
    write_wsgi_file(place)
    place.write_for_units()


def prove(place: Place, facts: Facts) -> None:
    supervisor = open_supervisor(choose(facts["supervisor"]), place, facts)
    Prover(place, facts, supervisor).prove(wanted_here(facts, place))


def look(place: Place, facts: Facts) -> None:
    """Print what runs, one line of JSON."""
    supervisor = open_supervisor(choose(facts["supervisor"]), place, facts)
    found = [
        _seen(supervisor, process, instance, place)
        for process in wanted_here(facts, place)
        for instance in process.instances
    ]
    shown = {"release": place.release, "supervisor": supervisor.name, "processes": found}
    print(json.dumps(shown))


def _seen(supervisor: Supervisor, process: Process, instance: str, place: Place) -> dict[str, Any]:
    try:
        state = supervisor.state_of(process, instance)
    except ServingError as error:
        return {"name": process.name, "instance": instance, "problem": str(error)}
    releases = {seen.release_of(pid, place.releases) for pid in state.processes} - {""}
    return {
        "name": process.name,
        "instance": instance,
        "problem": state.problem,
        "restarts": state.restarts,
        "releases": sorted(releases),
    }


def start_what_is_down(place: Place, facts: Facts) -> None:
    """Start each instance that is down, and leave the others alone."""
    supervisor = open_supervisor(choose(facts["supervisor"]), place, facts)
    failed = []
    for process in wanted_here(facts, place):
        for instance in process.instances:
            if supervisor.state_of(process, instance).problem:
                try:
                    supervisor.start(process, instance)
                except ServingError as error:
                    failed.append(str(error))
    if failed:
        raise ServingError("\n".join(failed))


def stop(place: Place, facts: Facts) -> None:
    """End all that was started for this site here."""
    for name in SUPERVISORS:
        open_supervisor(name, place, facts).end_others([])
    Starter(place, facts).forget_after_reboot()


def boot(path: str) -> None:
    """Start what runs here after a reboot, as cron asks; tries again what does not start."""
    facts = Place(path).stored_facts()
    place = Place(path, facts["folder"])
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        try:
            start_what_is_down(place, facts)
            return
        except ServingError as error:
            print(error, flush=True)
        if time.monotonic() > deadline:
            sys.exit(f"{path}: not all of its processes could be started.")
        time.sleep(5)


def open_supervisor(name: str, place: Place, facts: Facts) -> Supervisor:
    if name == "starter":
        return Starter(place, facts)
    return Systemd(place, facts, of_the_account=name == "systemd-user")


ACTIONS = {
    "apply": apply,
    "again": again,
    "prove": prove,
    "look": look,
    "start": start_what_is_down,
    "stop": stop,
}
