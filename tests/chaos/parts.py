"""The real parts that are broken: Redis, workers and the sweep, each a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.parts.processes import find_program, free_port, listens

TOP = Path(__file__).parent.parent.parent


class Part:
    """A process with all its children in one group."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self.log = log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command],
                cwd=TOP,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        self.tell(signal.SIGKILL)
        self.process.wait()

    @property
    def children(self) -> list[int]:
        """The processes it started."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


class Redis(Part):
    """A Redis that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        program = find_program("redis-server", "redis-server")
        super().__init__([program, *options, "--dir", str(folder)], folder / "redis.log")
        self.wait()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def wait(self) -> None:
        while not listens(self.port):
            time.sleep(0.02)


class Worker(Part):
    """A Celery worker; several of them share one Redis and one database."""

    def __init__(self, folder: Path, pool: str = "threads", concurrency: int = 8) -> None:
        log = folder / f"worker-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "celery", "-A", "tests.celery_app", "worker"]
        command += ["--pool", pool, "--concurrency", str(concurrency), "--loglevel", "info"]
        command += ["--hostname", f"{log.stem}@%h", "--without-mingle", "--without-gossip"]
        super().__init__(command, log)

    def wait(self) -> "Worker":
        """Return once it is ready."""
        until = time.monotonic() + 60
        while "ready." not in self.log.read_text(errors="replace"):
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(self.log.read_text(errors="replace"))
            time.sleep(0.05)
        return self


class Sweep(Part):
    """`manage.py sweep --forever 2`."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "django", "sweep", "--forever", "2"]
        super().__init__(command, folder / "sweep.log")


def environment_for(database_url: str, redis_url: str, cache: Path) -> dict[str, str]:
    """What tests/settings.py reads, here and in every process that is started."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(TOP),
        "DATABASE_URL": database_url,
        "TEST_APPS": json.dumps(["tests.chaos"]),
        "TEST_BROKER": json.dumps([redis_url, {}]),
        "TEST_DEPLOY_MANAGER": json.dumps({"CACHE": str(cache)}),
    }
