"""The real parts that are broken: PostgreSQL, Redis, workers and `reconcile`, each a process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.parts import postgres
from tests.parts.processes import find_program, free_port, listens

TOP = Path(__file__).parent.parent.parent
PATIENCE = 60.0


class Part:
    """A process with all its children in one group."""

    def __init__(
        self, command: Sequence[str], log: Path, user: str | None = None, **environment: str
    ) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._user = user
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
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        self.tell(signal.SIGKILL)
        self.process.wait()

    def kill_tree(self) -> None:
        """End it and everything that descends from it, in whatever session."""
        family = descendants(self.process.pid)
        self.kill()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @property
    def children(self) -> list[int]:
        """The processes it started."""
        return children_of(self.process.pid)

    def wait_for(self, is_ready: Callable[[], bool]) -> None:
        """Return once it is ready. Raises RuntimeError with its log."""
        until = time.monotonic() + PATIENCE
        while not is_ready():
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(self.log.read_text(errors="replace"))
            time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants(pid: int) -> list[int]:
    return [each for child in children_of(pid) for each in (child, *descendants(child))]


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
        self.wait_for(lambda: listens(self.port))


class Postgres(Part):
    """A PostgreSQL that may be restarted. As a real one, it flushes what it commits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "postgres"
        self._folder.mkdir()
        account = postgres.ACCOUNT if os.geteuid() == 0 else None
        if account:
            for each in (folder, self._folder):
                each.chmod(0o755)
            shutil.chown(self._folder, account, account)
        data, self.port = self._folder / "data", free_port()
        postgres.initialise(data, account)
        command = [postgres.program("postgres"), "-D", str(data), "-p", str(self.port)]
        command += ["-k", str(self._folder), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "max_connections=300"]
        super().__init__(command, self._folder / "postgres.log", account)
        self.wait()

    @property
    def url(self) -> str:
        account = postgres.ACCOUNT if os.geteuid() == 0 else os.environ.get("USER", "")
        return f"postgres://{account}@127.0.0.1:{self.port}/postgres"

    def wait(self) -> None:
        self.wait_for(lambda: postgres.is_ready(self.port))

    def restart(self, number: signal.Signals) -> None:
        """End it (SIGINT: fast, SIGQUIT: at once, without a checkpoint), and start it again."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        self.start()
        self.wait()


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
        self.wait_for(lambda: "ready." in self.log.read_text(errors="replace"))
        return self

    def says(self, words: str) -> int:
        """How often words stand in its log."""
        return self.log.read_text(errors="replace").count(words)


class Reconcile(Part):
    """`manage.py reconcile --forever 2s`."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "django", "reconcile", "--forever", "2s"]
        super().__init__(command, folder / "reconcile.log")


def environment_for(database: str, redis: str, cache: Path, ssh_key: Path) -> dict[str, str]:
    """What tests/settings.py reads, here and in every process that is started."""
    settings = {"CACHE": str(cache), "SSH_KEY_FILE": str(ssh_key)}
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(TOP),
        "DATABASE_URL": database,
        "TEST_APPS": json.dumps(["tests.chaos"]),
        "TEST_BROKER": json.dumps([redis, {}]),
        "TEST_DEPLOY_MANAGER": json.dumps(settings),
    }
