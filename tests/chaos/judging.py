"""What is demanded of deployments whatever died: the rows against what stands on the servers."""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from deploy_manager.models import LIVE, Deployment, HostRun, LogChunk, State
from tests.chaos.recipes import LINES, WORDS
from tests.chaos.world import World

FREE_WITHIN = 5.0
STREAMS = {LogChunk.Stream.STDOUT: "", LogChunk.Stream.STDERR: "-"}


def judge_all(world: World, deployments: Iterable[Deployment]) -> Counter[State]:
    """Judge deployments of the pipeline `chaos`; return how often each state was seen."""
    return Counter(judge(world, deployment) for deployment in deployments)


def judge(world: World, deployment: Deployment) -> State:
    """Compare what the rows say with what stands on the servers."""
    deployment.refresh_from_db()
    state = State(deployment.state)
    runs = list(deployment.host_runs.select_related("placement"))
    once = 0
    for run in runs:
        done = done_on(run, deployment)
        once += done["begin once"]
        _judge_host(world, deployment, run, done)
    hosts = {run.state for run in runs}
    world.demand(once <= 1, f"#{deployment.pk}: what runs once ran {once} times")
    world.demand(not hosts & set(LIVE), f"#{deployment.pk} is {state}, its hosts {hosts}")
    if state not in (State.SUCCEEDED, State.CANCELLED):
        world.notes[f"{state}: {'; '.join({run.message for run in runs})}"] += 1
    if state is State.SUCCEEDED:
        world.demand(hosts == {State.SUCCEEDED}, f"#{deployment.pk} succeeded with {hosts}")
        world.demand(once == 1, f"#{deployment.pk} succeeded, and ran `once` {once} times")
    return state


def _judge_host(world: World, deployment: Deployment, run: HostRun, done: Counter[str]) -> None:
    who = f"#{deployment.pk} on {run.server_name}"
    twice = [words for words, times in done.items() if times > 1]
    world.demand(not twice, f"{who}: done twice: {twice}")
    current = path_of(run) / "current"
    if current.is_symlink():
        is_whole = (current / ".complete").exists()
        world.demand(is_whole, f"{who}: current leads to {current.readlink()}")
    if run.state == State.SUCCEEDED:
        wanted = deployment.release.name if deployment.release else ""
        serves = current.readlink().name if current.is_symlink() else ""
        world.demand(serves == wanted, f"{who} succeeded, but serves {serves!r}, not {wanted}")
        words = [word for word in WORDS if word != "once"]
        missing = [word for word in words if done[f"end {word}"] != 1]
        world.demand(not missing, f"{who} succeeded without the end of {missing}")
    _judge_log(world, run, done, who)


def _judge_log(world: World, run: HostRun, done: Counter[str], who: str) -> None:
    """Every line of a step that ended is stored, once and in order; of the others, no gap."""
    for stream, sign in STREAMS.items():
        lines = lines_of(run, stream)
        for word in WORDS:
            numbers = [line for line in lines if line.startswith(f"{word} ")]
            wanted = [f"{word} {sign}{number}" for number in range(1, LINES + 1)]
            if not done[f"end {word}"]:
                wanted = wanted[: len(numbers)]
            world.demand(
                numbers == wanted,
                f"{who}: {word}, stream {stream}: {len(numbers)} lines stored, {len(wanted)}"
                f" printed, {len(set(numbers))} different",
            )


def lines_of(run: HostRun, stream: int) -> list[str]:
    """What is stored of a stream of a host."""
    chunks = run.log_chunks.filter(stream=stream).order_by("sequence")
    return b"".join(chunks.values_list("data", flat=True)).decode().splitlines()


def done_on(run: HostRun, deployment: Deployment) -> Counter[str]:
    """How often each thing was done on a server for a deployment, by the server's own file."""
    file = path_of(run) / "told"
    release = deployment.release.name if deployment.release else ""
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter(line.rpartition(" ")[0] for line in lines if line.endswith(f" {release}"))


def path_of(run: HostRun) -> Path:
    assert run.placement is not None
    return Path(run.placement.deploy_path)


def processes_in(folders: Iterable[Path]) -> dict[Path, list[int]]:
    """Which processes of commands run in these folders; the guard itself works in another one."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found.setdefault(os.readlink(entry / "cwd"), []).append(int(entry.name))
    return {folder: found[str(folder)] for folder in folders if str(folder) in found}


def demand_free_locks(world: World, deployments: Iterable[Deployment]) -> float:
    """Demand that every deploy path's lock is free soon; return how long the last one took."""
    runs = HostRun.objects.filter(deployment__in=[each.pk for each in deployments])
    locks = [path_of(run) / ".deploy/lock" for run in runs.select_related("placement")]
    began = time.monotonic()
    held = [lock for lock in locks if not is_free(lock)]
    while held and time.monotonic() - began < 3 * FREE_WITHIN:
        time.sleep(0.05)
        held = [lock for lock in held if not is_free(lock)]
    took = time.monotonic() - began
    world.demand(not held, f"{len(held)} locks were never free")
    world.demand(took <= FREE_WITHIN, f"the last lock was free after {took:.1f} s")
    return took


def is_free(lock: Path) -> bool:
    """Whether nobody holds a lock."""
    if not lock.exists():
        return True
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def told(states: "Counter[State] | Counter[str]") -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
