"""A real PostgreSQL on loopback, in a folder of its own.

    python -m tests.parts.postgres -- pytest -m database

runs a command with DATABASE_URL naming it.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts.processes import find_program, free_port, running

ACCOUNT = "postgres"
OPTIONS = {"fsync": "off", "synchronous_commit": "off", "listen_addresses": "127.0.0.1"}


@contextmanager
def started() -> Iterator[str]:
    """Yield the URL of a new PostgreSQL, which ends with the block."""
    # initdb refuses to be root.
    account = ACCOUNT if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="dm-postgres-") as folder:
        if account:
            shutil.chown(folder, account, account)
        data, port = Path(folder) / "data", free_port()
        initialise(data, account)
        command = [program("postgres"), "-D", str(data), "-p", str(port), "-k", folder]
        for name, value in OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        log = Path(folder) / "postgres.log"
        with running(command, lambda: is_ready(port), log, user=account):
            yield f"postgres://{account or _whoami()}@127.0.0.1:{port}/postgres"


def initialise(data: Path, account: str | None) -> None:
    command = [program("initdb"), "-D", str(data), "--auth=trust", "--encoding=UTF8"]
    subprocess.run(
        [*command, "--locale=C.UTF-8", "--no-sync"],
        check=True,
        capture_output=True,
        user=account,
        group=account,
        extra_groups=[] if account else None,
        cwd=data.parent,
    )


def is_ready(port: int) -> bool:
    command = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False).returncode == 0


def program(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return find_program(name, "postgresql", *folders)


def _whoami() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def main() -> int:
    command = sys.argv[sys.argv.index("--") + 1 :]
    with started() as url:
        return subprocess.run(
            command, env={**os.environ, "DATABASE_URL": url}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
