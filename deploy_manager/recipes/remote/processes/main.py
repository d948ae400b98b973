"""The program: what it was started for, by its words, or by the facts on stdin.

Facts are those of `recipes.processes.facts_of`, with an action: *apply* makes the processes of this
server run the current release; *prove* that they do; *stop* all that was started for this site.
Between deployments, `look <deploy path>` prints what runs, as JSON, and `start <deploy path>`
starts what is down, both by the facts of the last one. Exits with 1 and the reason on stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from . import seen
from .alone import Busy, alone_on
from .boots import boot_id, booted_at
from .gunicorn import make_secret
from .place import Facts, Place
from .starter import Starter
from .supervisors import ServingError, State, Supervisor, become_root_with, choose
from .systemd import Systemd
from .wanted import BEAT, Process, wanted_here
from .wsgi_file import write_wsgi_file

SUPERVISORS = ("starter", "systemd-user", "systemd")
BEFORE = "processes-before.json"
BOOT_SECONDS = 300
"""For so long after a boot it is tried to start what does not start: a database may be late."""

NOTHING_HERE, IN_USE = 44, 45
"""Exit codes of *look* and *start*, which `watching/asking.py` knows."""


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
    elif words[:1] in (["look"], ["start"]):
        carry_out({**_stored_facts(words[1]), "action": words[0]})
    else:
        facts = json.load(sys.stdin)
        become_root_with(facts.pop("sudo", ""))  # not among the facts, which are stored
        carry_out(facts)


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
    except Busy as error:
        print(error, file=sys.stderr)
        sys.exit(IN_USE)


def _stored_facts(path: str) -> Facts:
    facts = Place(path).stored_facts()
    if not facts:
        sys.exit(NOTHING_HERE)
    return facts


def apply(place: Place, facts: Facts) -> None:
    """Make the processes of this server run the current release, and end what is not wanted."""
    name = choose(facts["supervisor"])
    chosen = open_supervisor(name, place, facts)
    store(place, {**facts, "supervised_by": name})
    wanted = wanted_here(facts, place)
    check(wanted)
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


def check(wanted: list[Process]) -> None:
    """Raise ServingError for a process that can't run, before any of them is touched."""
    for process in wanted:
        if process.kind == "command" and not process.command:
            raise ServingError(f"{process.name} has no command, neither here nor in a Procfile.")
        if process.name == "web" and not process.is_web:
            raise ServingError("A process called web serves the web: choose the kind wsgi or asgi.")
        if process.kind != "beat" and BEAT.search(process.command):
            raise ServingError(
                f"{process.name} runs celery beat: choose the kind beat, so that it runs only once."
            )


def again(place: Place, facts: Facts) -> None:
    """Run what served the site before it was to be served in another way, if that was ours."""
    before = place.stored_facts(BEFORE)
    if before:
        print(
            "The site is not served in that way yet: what served it is started again.", flush=True
        )
        apply(place, before)


def store(place: Place, facts: Facts) -> None:
    """Write what units and successors read when they start, and the program they start."""
    before = place.stored_facts()
    if before.get("serves") and not facts["serves"]:
        place.store_facts(before, BEFORE)
    place.store_facts({key: value for key, value in facts.items() if key != "action"})
    make_secret(place)
    beside = f"{place.program}.{os.getpid()}"
    os.symlink(os.path.realpath(sys.argv[0]), beside)
    os.replace(beside, place.program)
    write_wsgi_file(place)
    place.write_for_units()


def prove(place: Place, facts: Facts) -> None:
    # Here, since HTTP is a third of what a look, each minute, would have to import.
    from .proof import Prover

    supervisor = open_supervisor(choose(facts["supervisor"]), place, facts)
    Prover(place, facts, supervisor).prove(wanted_here(facts, place))


def look(place: Place, facts: Facts) -> None:
    """Print what runs, one line of JSON. Changes nothing."""
    supervisor = _supervisor_here(place, facts)
    found = [
        _seen(supervisor, process, instance, place)
        for process in wanted_here(facts, place)
        for instance in process.instances
    ]
    shown = {
        "release": place.release,
        "supervisor": supervisor.name,
        "boot_id": boot_id(),
        "booted_at": booted_at(),
        "processes": found,
    }
    print(json.dumps(shown))


def _seen(supervisor: Supervisor, process: Process, instance: str, place: Place) -> dict[str, Any]:
    is_known = True
    try:
        state = supervisor.state_of(process, instance)
    except ServingError as error:
        # Its supervisor can't be asked: it may well run.
        state, is_known = State(str(error)), False
    releases = {seen.release_of(pid, place.releases) for pid in state.processes} - {""}
    return {
        "name": process.name,
        "instance": instance,
        "is_known": is_known,
        "problem": state.problem,
        "restarts": state.restarts,
        "releases": sorted(releases),
    }


def start_what_is_down(place: Place, facts: Facts) -> None:
    """Start each instance that is down, and leave the others alone.

    Raises ServingError with what could not be started, and Busy during a deployment.
    """
    with alone_on(place):
        _start_what_is_down(place, facts)


def _start_what_is_down(place: Place, facts: Facts) -> None:
    supervisor = _supervisor_here(place, facts)
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
    place.forget_facts()


def boot(path: str) -> None:
    """Start what runs here after a reboot, as cron asks; tries again what does not start."""
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        # Each time anew: a deployment may switch it meanwhile, or have systemd take it over.
        facts = Place(path).stored_facts()
        if facts.get("supervised_by") != Starter.name:
            return
        try:
            start_what_is_down(Place(path, facts["folder"]), facts)
            return
        except (ServingError, Busy) as error:
            print(error, flush=True)
        if time.monotonic() > deadline:
            sys.exit(f"{path}: not all of its processes could be started.")
        time.sleep(5)


def _supervisor_here(place: Place, facts: Facts) -> Supervisor:
    """Return the one that the last deployment chose: today, *auto* might choose another one."""
    return open_supervisor(facts["supervised_by"], place, facts)


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
