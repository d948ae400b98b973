"""Prove that what a supervisor runs is the current release. Runs on the server, Python 3.8+.

Reads JSON: supervisor (systemd, systemd-user or supervisor), target (the unit or the program),
deploy_path, deadline (seconds), settled (seconds for which it has to run without a restart). Exits
with 1 and the reason on stderr if it does not run, keeps being restarted, or if a process of it is
of another release. Says so if that can't be seen, as of processes of another account.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

PAUSE_SECONDS = 0.25
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")
"""Where systemd's own hierarchy is: version 2, version 1, both (systemd.io/CGROUP_DELEGATION)."""


class State(NamedTuple):
    """What a supervisor says of what it runs."""

    problem: str = ""
    """Blank: it runs."""

    processes: tuple[int, ...] = ()
    restarts: str = ""


def ask_systemd(facts: dict[str, str]) -> State:
    own = ["--user"] if facts["supervisor"] == "systemd-user" else []
    names = "ActiveState,SubState,MainPID,NRestarts,ControlGroup"
    shown = answer_of(["systemctl", *own, "show", f"--property={names}", "--", facts["target"]])
    known = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state, restarts = known.get("ActiveState", ""), known.get("NRestarts", "0")
    if state != "active":
        times = f", restarted {restarts} times" if restarts not in ("", "0") else ""
        return State(f"{facts['target']} is {state} ({known.get('SubState', 'unknown')}){times}.")
    processes = {*in_group(known.get("ControlGroup", "")), *with_children(known.get("MainPID", ""))}
    return State(processes=tuple(sorted(processes)), restarts=f"{known.get('MainPID')} {restarts}")


def in_group(group: str) -> Iterator[int]:
    """Yield the processes of a control group and those below: some outlive their master there."""
    if not group.strip("/"):
        return
    for top in CGROUPS:
        for folder, _folders, files in os.walk(top + group):
            if "cgroup.procs" in files:
                with suppress(OSError), open(os.path.join(folder, "cgroup.procs")) as file:
                    yield from map(int, file.read().split())


def ask_supervisor(facts: dict[str, str]) -> State:
    # Exits with 3 if one of them does not run: what it prints tells which.
    lines = answer_of(["supervisorctl", "status", facts["target"]]).splitlines()
    fields = [line.split(None, 2) for line in lines if line.strip()]
    ill = [" ".join(field) for field in fields if field[1:2] != ["RUNNING"]]
    if ill or not fields:
        return State("; ".join(ill) or f"supervisor knows no {facts['target']}.")
    mains = [found.group(1) for field in fields if (found := re.search(r"pid (\d+)", field[2]))]
    processes = {pid for main in mains for pid in with_children(main)}
    return State(processes=tuple(sorted(processes)), restarts=" ".join(mains))


def answer_of(command: list[str]) -> str:
    """Return what a program prints. Ends the script if it is missing or can't answer."""
    own = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    environment = {**os.environ, "XDG_RUNTIME_DIR": own, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")
    if done.returncode and not done.stdout.strip():
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def with_children(main: str) -> Iterator[int]:
    """Yield a process and all that it started; nothing for 0, as a unit without one has."""
    if not main.isdigit() or main == "0":
        return
    parents = {pid: parent_of(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
    found = [int(main)]
    for each in found:
        yield each
        found += [pid for pid, parent in parents.items() if parent == each]


def parent_of(pid: int) -> int:
    # The program's name is in brackets, and may have brackets and blanks itself: proc(5).
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def read(pid: int, name: str) -> bytes:
    with suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
    return b""


def release_of(pid: int, releases: str) -> str:
    """Return the release that a process runs; blank if that can't be seen.

    By its working folder, which stays the one that it was started in when `current` is switched;
    else by the variable that the site's variables contain.
    """
    folder = ""
    with suppress(OSError):
        folder = os.readlink(f"/proc/{pid}/cwd")
    inside = re.match(re.escape(releases) + r"/([^/]+)", folder)
    if inside:
        # As the kernel writes it once the folder is gone.
        return inside.group(1).replace(" (deleted)", "")
    named = re.search(rb"(?:\A|\0)DEPLOY_RELEASE=([^\0]+)", read(pid, "environ"))
    return os.fsdecode(named.group(1)) if named else ""


def name_of(pid: int) -> str:
    """Return its number and program: its other words may have passwords, and the log is stored."""
    program = os.fsdecode(read(pid, "cmdline").split(b"\0")[0])
    return f"process {pid} ({os.path.basename(program)!r})"


def judge(state: State, releases: str, wanted: str) -> tuple[str, str]:
    """Return a problem, blank if there is none, and what was seen."""
    if state.problem:
        return state.problem, ""
    seen = {pid: release_of(pid, releases) for pid in state.processes}
    for pid, release in seen.items():
        if release not in ("", wanted):
            return f"{name_of(pid)} still runs release {release} where {wanted} is current.", ""
    proven = [pid for pid, release in seen.items() if release]
    if proven:
        return "", f"{len(proven)} of its {len(seen)} processes run release {wanted}"
    return "", "it runs; which release can't be seen of its processes here"


def main() -> None:
    facts = json.load(sys.stdin)
    releases = os.path.realpath(os.path.join(facts["deploy_path"], "releases"))
    wanted = os.path.basename(os.path.realpath(os.path.join(facts["deploy_path"], "current")))
    ask = ask_supervisor if facts["supervisor"] == "supervisor" else ask_systemd
    deadline = time.monotonic() + facts["deadline"]
    shown, last, runs, since = "", "", "", 0.0
    while True:
        state = ask(facts)
        problem, seen = judge(state, releases, wanted)
        now = time.monotonic()
        if problem != shown and problem:
            print(problem, flush=True)
            last = problem
        shown = problem
        if problem or state.restarts != runs:
            runs, since = ("" if problem else state.restarts), now
        if not problem and now - since >= facts["settled"]:
            print(f"{facts['target']}: {seen}, for {facts['settled']:g} seconds without a restart.")
            return
        if now > deadline:
            again = f"it is restarted again and again. {last}".strip()
            sys.exit(f"{facts['target']}: {problem or again}")
        time.sleep(PAUSE_SECONDS)


main()
