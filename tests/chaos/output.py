"""What a server may print: a lot, on both streams, without end of line, and bytes of any kind."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy_manager.models import Deployment, LogChunk, State
from tests.chaos.parts import Worker
from tests.chaos.world import World

KINDS = {
    # Without @: some random bytes look like a login in a URL, which is masked before it is stored.
    "invalid UTF-8": ("head -c 20000000 /dev/urandom | LC_ALL=C tr -d @", 20.0),
    "NUL bytes": ("head -c 20000000 /dev/zero", 20.0),
    "one line of 50 MB": ("head -c 50000000 /dev/zero | tr '\\0' x", 50.0),
    "100 MB on both streams": (
        "{ yes 'a line on the standard output' | head -c 100000000; } &"
        " yes 'a line on the other stream' | head -c 100000000 >&2; wait",
        200.0,
    ),
}
GROWS_AT_MOST = 64.0
AT_LEAST = 5.0
"""MB per second, on a machine that does nothing else."""


def output_poured(world: World, count: int) -> str:
    """One kind after the other, from a local server and over SSH in turn."""
    worker = world.start_worker().wait()
    seen = []
    warm_up(world, worker)
    for number, (kind, (script, size)) in zip(range(count), kinds(), strict=False):
        over_ssh = number // len(KINDS) % 2 == 0
        seen.append(pour(world, worker, kind, script, size, over_ssh))
    world.end_workers()
    return "; ".join(seen)


def kinds() -> Iterator[tuple[str, tuple[str, float]]]:
    while True:
        yield from KINDS.items()


def warm_up(world: World, worker: Worker) -> None:
    """Have all be imported that a deployment over SSH needs."""
    world.wait_for_ends([world.request(world.make_site(1, over_ssh=1), "chaos_word")], 30)


def pour(world: World, worker: Worker, kind: str, script: str, size: float, over_ssh: bool) -> str:
    """Have a server print; return how fast that was, and how much the worker grew."""
    environment = world.make_site(1, over_ssh=int(over_ssh))
    path = Path(environment.placements.get().deploy_path)
    (path / "bytes").write_bytes(b"")
    (path / "pour").write_text(f"{{ {script}; }} | tee bytes\n" if "urandom" in script else script)
    for name in ("bytes", "pour"):
        (path / name).chmod(0o666)
    before = memory_of(worker, forget_the_peak=True)
    deployment = world.request(environment, "chaos_pour")
    world.wait_for_ends([deployment], 180)
    grew = memory_of(worker) - before
    deployment.refresh_from_db()
    step = deployment.host_runs.get().steps.get()
    took = 0.0
    if step.started_at and step.finished_at:
        took = (step.finished_at - step.started_at).total_seconds()
    speed = size / took if took else 0.0
    where = "over SSH" if over_ssh else "local"
    world.demand(deployment.state == State.SUCCEEDED, f"{kind}, {where}: {deployment.message}")
    world.demand(grew <= GROWS_AT_MOST, f"{kind}, {where}: the worker grew by {grew:.0f} MB")
    world.demand(speed >= AT_LEAST or not world.demands_pace, f"{kind}, {where}: {speed:.1f} MB/s")
    is_exact = digests_of(deployment) == printed_by(path, script)
    world.demand(is_exact, f"{kind}, {where}: what is stored is not what was printed")
    LogChunk.objects.filter(deployment=deployment).delete()
    return f"{kind}, {where}: {speed:.0f} MB/s, the worker grew by {grew:.0f} MB"


def digests_of(deployment: Deployment) -> list[str]:
    """The digest of what is stored of each stream."""
    digests = {1: hashlib.sha256(), 2: hashlib.sha256()}
    chunks = deployment.log_chunks.filter(stream__in=digests).order_by("sequence")
    for chunk in chunks.iterator(chunk_size=100):
        digests[chunk.stream].update(chunk.data)
    return [digest.hexdigest() for digest in digests.values()]


def printed_by(path: Path, script: str) -> list[str]:
    """The digest of what a script prints on each stream."""
    if "urandom" in script:
        return [hashlib.sha256(each).hexdigest() for each in ((path / "bytes").read_bytes(), b"")]
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True)
    return [hashlib.sha256(each).hexdigest() for each in (done.stdout, done.stderr)]


def memory_of(worker: Worker, forget_the_peak: bool = False) -> float:
    """The most memory a worker had, or has now when the peak is forgotten, in MB."""
    folder = Path(f"/proc/{worker.process.pid}")
    if forget_the_peak:
        (folder / "clear_refs").write_text("5")
    lines = (folder / "status").read_text(errors="replace").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1000
