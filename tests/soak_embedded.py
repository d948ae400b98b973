"""`python -m tests.soak_embedded [--minutes 60] [--rate 20]`: the embedded broker under load.

Two processes send, two Celery workers receive, by a folder. Each message is sent as a deployment's
is, over a connection of its own, and counted by its key. It ends after the minutes, or when a
process dies, and tells what was lost, what came twice, and how long messages took.
`--transport filesystem` has Kombu's own do the same.
"""

import argparse
import collections
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parent.parent
SENDERS, WORKERS = 2, 2
DRAINS_FOR = 60.0
"""Seconds that workers get for what is still waiting at the end."""


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        return soak(Path(folder), options)


def soak(folder: Path, options: argparse.Namespace) -> int:
    environment = _environment(folder, options.transport)
    names = [f"worker-{number}" for number in range(WORKERS)]
    workers = {name: _start_worker(folder, name, environment) for name in names}
    try:
        if not _until(lambda: all(_is_ready(folder, name) for name in names), 120):
            print("The workers did not start.")
            return 1
        return _measure(folder, options, workers, environment)
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.wait(60)


def _measure(
    folder: Path,
    options: argparse.Namespace,
    workers: "dict[str, subprocess.Popen[bytes]]",
    environment: dict[str, str],
) -> int:
    seconds = options.minutes * 60
    words = [str(options.rate / SENDERS), str(seconds)]
    senders = {
        f"sender-{n}": _start(folder, f"sender-{n}", environment, "tests.soak_embedded", *words)
        for n in range(SENDERS)
    }
    began, deaths = time.monotonic(), set[str]()
    while any(process.poll() is None for process in senders.values()):
        time.sleep(1)
        deaths.update(name for name, process in workers.items() if process.poll() is not None)
        if len(deaths) == WORKERS or time.monotonic() > began + seconds + DRAINS_FOR:
            break
        _tell_now_and_then(folder, began)
    for name, process in senders.items():
        process.terminate()
        if process.wait(30) not in (0, -15):
            deaths.add(name)
    _until(lambda: len(_received(folder)) >= len(_sent(folder)), DRAINS_FOR)
    deaths.update(name for name, process in workers.items() if process.poll() is not None)
    return _tell(folder, deaths, time.monotonic() - began)


def _tell(folder: Path, deaths: set[str], seconds: float) -> int:
    sent, received = _sent(folder), _received(folder)
    counts = collections.Counter(key for key, _sent_at, _at in received)
    lost = set(sent) - set(counts)
    twice = sum(count - 1 for count in counts.values())
    took = sorted(at - sent_at for _key, sent_at, at in received)
    errors = sum(
        "ERROR" in line or "CRITICAL" in line or "can't be read" in line
        for path in folder.glob("*.log")
        for line in path.read_text(errors="replace").splitlines()
    )
    left = sum(path.is_file() for path in (folder / "broker").rglob("*"))
    print(f"{seconds:.0f} s: sent {len(sent)}, received {len(counts)}, lost {len(lost)},")
    print(f"  twice {twice}, errors {errors}, deaths {sorted(deaths)}, files left {left}")
    if took:
        p99 = took[int(len(took) * 0.99)]
        middle = statistics.median(took)
        print(f"  from sending to the task: median {middle:.3f} s, p99 {p99:.3f} s")
    for name in sorted(deaths):
        print(f"--- the end of {name}:\n{(folder / f'{name}.log').read_text()[-1500:]}")
    return 1 if lost or twice or deaths or errors or not sent else 0


def send(rate: float, seconds: float) -> None:
    """Send messages at a steady rate; what is behind is caught up with."""
    from tests.soak_app import FOLDER, app, note  # noqa: PLC0415  the environment comes first

    began, number = time.monotonic(), 0
    with (FOLDER / f"sent-{os.getpid()}").open("a", buffering=1) as sent:
        while (now := time.monotonic() - began) < seconds:
            if number > now * rate:
                time.sleep(number / rate - now)
            key = f"{os.getpid()}-{number}"
            with app.connection_for_write() as connection:
                producer = connection.Producer(auto_declare=False)
                note.apply_async((key, time.time()), producer=producer, retry=False)
            sent.write(f"{key}\n")
            number += 1


def _environment(folder: Path, transport: str) -> dict[str, str]:
    broker = folder / "broker"
    broker.mkdir()
    own = {"folder": str(broker)}
    if transport == "filesystem":
        own = {"data_folder_in": str(broker), "data_folder_out": str(broker)}
        own |= {"control_folder": str(broker / "control")}
    told = {"polling_interval": 0.1, **own}
    soak = {"SOAK_FOLDER": str(folder), "SOAK_OPTIONS": json.dumps(told)}
    return {**os.environ, **soak, "SOAK_URL": f"{transport}://"}


def _start_worker(
    folder: Path, name: str, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    words = ["-A", "tests.soak_app", "worker", "--pool", "threads", "--concurrency", "4"]
    words += ["--hostname", f"{name}@here", "--loglevel", "warning"]
    return _start(folder, name, environment, "celery", *words)


def _start(
    folder: Path, name: str, environment: dict[str, str], module: str, *words: str
) -> "subprocess.Popen[bytes]":
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=TOP,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _is_ready(folder: Path, name: str) -> bool:
    return "[queues]" in (folder / f"{name}.log").read_text(errors="replace")


def _until(condition: "collections.abc.Callable[[], bool]", seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def _tell_now_and_then(folder: Path, began: float) -> None:
    if int(time.monotonic() - began) % 300 == 0:
        print(f"{time.monotonic() - began:.0f} s: sent {len(_sent(folder))}", flush=True)


def _sent(folder: Path) -> list[str]:
    return [line for path in folder.glob("sent-*") for line in path.read_text().splitlines()]


def _received(folder: Path) -> list[tuple[str, float, float]]:
    lines = [line for path in folder.glob("received-*") for line in path.open()]
    return [
        (key, float(sent_at), float(at)) for key, sent_at, at in (line.split() for line in lines)
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak_embedded", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20, help="messages a second, of all senders")
    parser.add_argument("--transport", choices=["embedded", "filesystem"], default="embedded")
    return parser.parse_args()


if __name__ == "__main__":
    if "SOAK_FOLDER" in os.environ:
        send(float(sys.argv[1]), float(sys.argv[2]))
    else:
        sys.exit(main())
