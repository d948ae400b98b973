"""The proof that what runs is the current release: by its processes, and by who listens.

A site may answer well while an old process still holds its address, or while one of its workers
still runs from a folder that is to be removed.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from . import seen
from .health import await_health, why_no_answer, why_not_all
from .launch import application_of, environment_for
from .place import Facts, Place, end_of
from .supervisors import ServingError, State, Supervisor, call
from .systemd import state_of_unit
from .wanted import Process

PAUSE_SECONDS = 0.25
RESTARTED = 2
"""More runs than this are no start, and no restart that we asked for."""

CHECK_SECONDS = 20
"""For the check of a process: a celery ping starts celery first."""


class Subject(NamedTuple):
    """Something that has to run the current release."""

    title: str
    process: Process | None
    instance: str = ""


class Watched:
    """What was seen of a subject so far."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.problem = ""
        self.last = ""
        """The last problem that was printed."""

        self.runs: set[str] = set()
        """What its supervisor said of restarts, each time another text."""

        self.has_settled = False


class Prover:
    """Looks until all of it runs the current release for some time, or a deadline is over."""

    def __init__(self, place: Place, facts: Facts, supervisor: Supervisor) -> None:
        self.place = place
        self.facts = facts
        self.supervisor = supervisor

    def prove(self, processes: list[Process]) -> None:
        """Print what was seen. Raises ServingError."""
        wanted = self.facts["release"]
        if wanted not in ("", self.place.release):
            raise ServingError(f"current leads to {self.place.release}, not to {wanted}.")
        if self.facts["health"]["url"] and self.facts["serves_web"]:
            self._await_health(processes)
        longest = max((each.settles_in(0) for each in processes), default=0)
        deadline = time.monotonic() + self.facts["deadline"] + longest
        if self.facts["theirs"]["is_named"] and self.facts["health"]["url"]:
            self._await_no_old_server(deadline)
        subjects = [
            Subject(f"{process.name} {instance}", process, instance)
            for process in processes
            for instance in process.instances
        ]
        if self.facts["theirs"]["supervisor"]:
            subjects.append(Subject(self.facts["theirs"]["target"], None))
        self._await_all(subjects, deadline)
        _await_none(self._old_listener, deadline)
        for process in processes:
            self._check(process, deadline)
        self._name_others()

    def _name_others(self) -> None:
        """Say which processes of the account still run an older release: others started them."""
        for pid in seen.all_processes():
            release = seen.release_of(pid, self.place.releases)
            if release not in ("", self.place.release):
                why = "it was not started from here"
                print(f"{seen.name_of(pid)} still runs release {release}: {why}.", flush=True)

    def _await_health(self, processes: list[Process]) -> None:
        """Ask until the site answers. Raises ServingError, with what its own servers printed."""
        is_named = self.facts["theirs"]["is_named"] or any(
            each.is_wrapped and each.bind == self.facts["bind"] for each in processes
        )
        try:
            await_health(self.place, self.facts["health"], is_named)
        except ServingError as error:
            web = [each for each in processes if each.is_web]
            tails = [self.supervisor.tail_of(each, each.instances[0]) for each in web]
            raise ServingError("\n".join([str(error), *filter(None, tails)])) from None

    def _await_no_old_server(self, deadline: float) -> None:
        """See that no process of a web server still has an old release; raises ServingError.

        mod_wsgi has several, which look at our file only when they get a request. What they run
        can't be seen in /proc, as they began as root: so each of many answers has to be the same.
        """

        def why() -> str:
            old = why_not_all(self.place, self.facts["health"])
            return f"Not all of the web server's processes are reloaded. {old}" if old else ""

        _await_none(why, deadline)

    def _await_all(self, subjects: list[Subject], deadline: float) -> None:
        """Look at all of them until each has run for some time without a problem or a restart."""
        watched = [Watched(subject) for subject in subjects]
        while True:
            left = [each for each in watched if not self._has_settled(each)]
            # Once more all at the same moment: one may have ended while others were waited for.
            left = left or [each for each in watched if not self._still_runs(each)]
            if not left:
                return
            if time.monotonic() > deadline:
                worst = left[0]
                again = len(worst.runs) > RESTARTED or not worst.problem
                why = f"it is restarted again and again. {worst.last}" if again else worst.problem
                tail = self._tail_of(worst.subject)
                raise ServingError(f"{worst.subject.title}: {why}\n{tail}".strip())
            time.sleep(PAUSE_SECONDS)

    def _has_settled(self, watched: Watched) -> bool:
        """Look at a subject; whether it has run for long enough without a problem."""
        if watched.has_settled:
            return True
        subject, settled = watched.subject, self._settles_in(watched.subject)
        state = self._state_of(subject)
        watched.runs |= {state.restarts} - {""}
        watched.problem, said = self._judge(subject, state)
        if watched.problem:
            if watched.problem != watched.last:
                print(f"{subject.title}: {watched.problem}", flush=True)
            watched.last = watched.problem
            return False
        if not _has_run_for(state, settled):
            return False
        print(f"{subject.title}: {said}, for {settled:g} seconds without a restart.", flush=True)
        watched.has_settled = True
        return True

    def _still_runs(self, watched: Watched) -> bool:
        """Whether a subject that has settled is as it was; if it is not, it has to settle again."""
        watched.problem, _said = self._judge(watched.subject, self._state_of(watched.subject))
        watched.has_settled = not watched.problem
        return watched.has_settled

    def _settles_in(self, subject: Subject) -> float:
        process, usual = subject.process, float(self.facts["settled"])
        return usual if process is None else process.settles_in(usual)

    def _state_of(self, subject: Subject) -> State:
        if subject.process is not None:
            return self.supervisor.state_of(subject.process, subject.instance)
        theirs = self.facts["theirs"]
        if theirs["supervisor"] == "supervisor":
            return _ask_supervisor(theirs["target"])
        return state_of_unit(theirs["target"], theirs["supervisor"] == "systemd-user")

    def _judge(self, subject: Subject, state: State) -> tuple[str, str]:
        """Return a problem, blank if there is none, and what was seen."""
        if state.problem:
            return state.problem, ""
        wanted = self.place.release
        # What a unit of theirs runs has the site's variables alone, without its path.
        found = {
            pid: seen.release_of(pid, self.place.releases)
            or seen.variable_of(pid, "DEPLOY_RELEASE")
            for pid in state.processes
        }
        for pid, release in found.items():
            if release not in ("", wanted):
                old = f"still runs release {release} where {wanted} is current."
                return f"{seen.name_of(pid)} {old}", ""
        proven = [pid for pid, release in found.items() if release]
        if proven:
            held = self._not_held(subject, state)
            return held, f"{len(proven)} of its {len(found)} processes run release {wanted}"
        if subject.process is not None:
            return "which release it runs can't be seen of its processes.", ""
        return "", "it runs; which release can't be seen of its processes here"

    def _not_held(self, subject: Subject, state: State) -> str:
        """Return what is wrong if a web process of ours does not have its address; else blank."""
        process = subject.process
        if process is None or not process.bind:
            return ""
        holders = seen.listeners_on(process.bind)
        if set(holders).intersection(state.processes):
            return ""
        by = f": {seen.name_of(holders[0])} does" if holders else ""
        return f"it does not listen on {process.bind}{by}."

    def _old_listener(self) -> str:
        """Return which process of another release listens at the site's address; blank if none."""
        bind, wanted = self.facts["bind"], self.place.release
        for pid in seen.listeners_on(bind) if bind and self.facts["serves_web"] else ():
            release = seen.release_of(pid, self.place.releases)
            if release not in ("", wanted):
                return (
                    f"{seen.name_of(pid)} still listens on {bind} and runs release {release},"
                    f" where {wanted} is current."
                )
        return ""

    def _tail_of(self, subject: Subject) -> str:
        if subject.process is None:
            return ""
        return self.supervisor.tail_of(subject.process, subject.instance)

    # What a process says of itself

    def _check(self, process: Process, deadline: float) -> None:
        """Run the check of a process until it passes. Raises ServingError."""
        if process.health == "up":
            return

        def why() -> str:
            problem = self._why_not_well(process)
            return f"{process.name}: its check failed: {problem}" if problem else ""

        _await_none(why, deadline)
        print(f"{process.name}: its check passed.", flush=True)

    def _why_not_well(self, process: Process) -> str:
        """Return why the check of a process fails; blank if it passes."""
        if process.health == "http":
            return why_no_answer(process.health_target, CHECK_SECONDS)
        return self._run(process, self._words(process))

    def _words(self, process: Process) -> list[str]:
        if process.health != "ping":
            return ["/bin/sh", "-c", process.health_target]
        application = application_of(process, self._environment(process))
        host = socket.gethostname()  # as celery has it for %h
        names = ",".join(f"{process.name}-{each}@{host}" for each in process.instances)
        celery = [self.place.python, "-m", "celery", "--app", application]
        return [*celery, "inspect", "ping", "--timeout", "5", "--destination", names]

    def _run(self, process: Process, words: list[str]) -> str:
        """Return why a check failed; blank if it passed."""
        try:
            done = subprocess.run(
                words,
                cwd=self.place.code,
                env=self._environment(process),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=CHECK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {CHECK_SECONDS} seconds."
        said = end_of(done.stdout, 2000)
        return said or f"exit code {done.returncode}" if done.returncode else ""

    def _environment(self, process: Process) -> dict[str, str]:
        return environment_for(process, self.place, self.facts)


def _await_none(why: Callable[[], str], deadline: float) -> None:
    """Wait until nothing is wrong any more. Raises ServingError with what still is."""
    while problem := why():
        if time.monotonic() > deadline:
            raise ServingError(problem)
        time.sleep(PAUSE_SECONDS)


def _has_run_for(state: State, seconds: float) -> bool:
    """Whether its main processes have run for so long, and one of their workers, if there are any.

    A gunicorn stays while its workers die one after the other. Not all of them have to be as old:
    it may be told to replace a worker after some requests.
    """
    mains = [pid for pid in state.mains if pid in state.processes]
    names = {seen.worker_name(pid) for pid in mains}
    workers = [pid for pid in state.processes if pid not in mains]
    alike = [seen.age_of(pid) for pid in workers if seen.worker_name(pid) in names]
    return min([*map(seen.age_of, mains), max(alike, default=seconds)]) >= seconds


def _ask_supervisor(target: str) -> State:
    # Exits with 3 if one of them does not run: what it prints tells which.
    try:
        text = call("sh", "-c", f"supervisorctl status {shlex.quote(target)} || [ $? = 3 ]")
    except ServingError as error:
        return State(str(error))
    lines = [line.split(None, 2) for line in text.splitlines() if line.strip()]
    ill = [" ".join(fields) for fields in lines if fields[1:2] != ["RUNNING"]]
    if ill or not lines:
        return State("; ".join(ill) or f"supervisor knows no {target}.")
    mains = [found.group(1) for fields in lines if (found := re.search(r"pid (\d+)", fields[2]))]
    processes = {pid for main in mains for pid in seen.with_children(int(main))}
    return State("", tuple(sorted(processes)), " ".join(mains), tuple(map(int, mains)))
