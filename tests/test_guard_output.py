"""Output through a guard: exact, fast, bounded on the server and in the worker, however large."""

import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy_manager.exceptions import RecipeError
from deploy_manager.hosts.address import Address, Stream
from tests.parts.guards import Book, Doing, Place, has_begun, waiting_for
from tests.parts.served import wait_until

MEGABYTE = 1_000_000
BOTH_STREAMS = "head -c 100000000 /dev/zero & head -c 100000000 /dev/zero >&2; wait"


class Counter(Book):
    """Counts only."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = dict.fromkeys(Stream, 0)

    def __call__(self, stream: Stream, data: bytes) -> None:
        self.bytes[stream] += len(data)


def memory_of(pid: int) -> int:
    """The most memory a process ever had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_a_hundred_megabytes_on_both_streams(place: Place) -> None:
    held = place.open()
    counter = Counter()
    held.host._journal = counter
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    assert held.host.run(BOTH_STREAMS).ok
    speed = 200 / (time.monotonic() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (counter.bytes[Stream.STDOUT], counter.bytes[Stream.STDERR]) == (100 * MEGABYTE,) * 2
    assert speed > 5, f"{speed:.0f} MB/s"
    assert grown < 64 * 1024, f"the worker grew by {grown} KiB"
    assert memory_of(place.guard()) < 64 * MEGABYTE


def test_a_line_of_fifty_megabytes(here: Place) -> None:
    held = here.open()
    held.host.run("head -c 50000000 /dev/zero | tr '\\0' x; echo")
    assert held.book.of(Stream.STDOUT) == b"x" * 50 * MEGABYTE + b"\n"


def test_a_slow_reader_slows_the_command_and_loses_nothing(here: Place) -> None:
    held = here.open()
    take = held.book

    class Slow(Book):
        def __call__(self, stream: Stream, data: bytes) -> None:
            if len(take.pieces) % 100 == 0:
                time.sleep(0.01)
            take(stream, data)

    held.host._journal = Slow()
    held.host.run("seq 1000000")
    assert held.book.of(Stream.STDOUT) == b"".join(b"%d\n" % n for n in range(1, 1_000_001))


def test_what_nobody_reads_is_bounded_and_told_as_cut(here: Place) -> None:
    command = f"{waiting_for(here, 'go')}; head -c 120000000 /dev/zero"
    held = here.open()
    doing = Doing(held.host, command)
    wait_until(lambda: has_begun(here))
    held.handed_over.set()
    doing.end()
    held.host.close()
    (here.folder / "go").touch()
    wait_until(here.is_free)
    kept = sum(file.stat().st_size for file in here.guarded.rglob("out.*"))
    assert 32 * MEGABYTE < kept < 80 * MEGABYTE

    after = here.open(token=2)
    after.host.run(command)
    (note,) = after.book.notes
    cut = int(note.split()[0].removeprefix("["))
    assert note == f"[{cut} bytes of output were not kept]\n"
    assert cut + len(after.book.of(Stream.STDOUT)) == len("ended\n") + 120 * MEGABYTE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Place]:
    """A deploy path on a disk of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(disk)]
    subprocess.run(mount, check=True)
    place = Place(Address("here", local=True), disk)
    yield place
    place.end()
    wait_until(lambda: not place.guard())
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.mounts
def test_a_disk_that_fills_up_is_reported_and_the_next_command_works(small_disk: Place) -> None:
    held = small_disk.open()
    with pytest.raises(RecipeError, match="output could not be kept: No space left on device"):
        held.host.run("yes | head -c 20000000; sleep 60")
    with pytest.raises(RecipeError, match="could not be started: No space left on device"):
        held.host.run("true")
    with pytest.raises(RecipeError, match="No space left on device"):
        held.host.put(b"x" * 100_000, f"{small_disk.folder}/file")
    assert [(each.state, each.exit_code) for each in small_disk.probe()] == [("ended", 137)]

    held.host.begin_step(1)
    assert held.host.run("echo other").stdout == "other\n"
    assert not list(small_disk.folder.rglob("*.part"))


@pytest.mark.mounts
def test_an_exit_code_is_kept_though_the_disk_is_full(small_disk: Place) -> None:
    held = small_disk.open()
    fill = f"cat /dev/zero > '{small_disk.folder}/filler' 2>/dev/null; true"
    assert held.host.run(fill, check=False).exit_code == 0
    held.host.close()
    assert [(each.state, each.exit_code) for each in small_disk.probe()] == [("ended", 0)]


@pytest.mark.mounts
def test_a_full_disk_is_reported_before_anything_begins(small_disk: Place) -> None:
    small_disk.open().host.close()
    wait_until(small_disk.is_free)
    (small_disk.folder / "filler").write_bytes(b"")
    fill = ["dd", "if=/dev/zero", f"of={small_disk.folder}/filler", "bs=4k"]
    subprocess.run(fill, check=False, stderr=subprocess.DEVNULL)
    with pytest.raises(RecipeError, match="No space left on device"):
        small_disk.open(deployment=2)
    (small_disk.folder / "filler").unlink()
    assert small_disk.open(deployment=2).host.run("echo works").ok
