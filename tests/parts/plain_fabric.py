"""Servers upgraded as people do it by hand: plain Fabric in parallel, a few lines of shell.

What our own upgrades are measured against. There is no rollback and nothing is looked at twice.
"""

import io
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import fabric

from tests.parts.processes import free_port
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd

PATIENCE = 60.0
"""Seconds."""

QUIETLY = {"hide": True, "in_stream": False}
START = (
    "set -a; . ./variables; set +a; cd code; ../venv/bin/gunicorn --daemon --workers 2"
    " --pid ../gunicorn.pid --error-logfile ../gunicorn.log --bind $(cat ../bind)"
    " config.wsgi:application"
)
STOP = (
    "pid=$(cat gunicorn.pid 2>/dev/null) && kill $pid"
    " && while kill -0 $pid 2>/dev/null; do sleep 0.05; done; true"
)
FILL = (
    "python3 -m venv venvs/{name} && venvs/{name}/bin/pip install -q --disable-pip-version-check"
    " --index-url {index} --require-hashes --no-deps -r requirements.lock"
    " && venvs/{name}/bin/pip -q check && set -a && . ./variables && set +a && cd code"
    " && ../venvs/{name}/bin/python manage.py collectstatic --noinput"
    " && ../venvs/{name}/bin/python manage.py check"
)
MIGRATE = "set -a; . ./variables; set +a; cd code; ../venvs/{name}/bin/python manage.py migrate"
IN_PLACE = (
    "venv/bin/pip install -q --disable-pip-version-check --index-url {index} -U {pin}"
    " && kill -HUP $(cat gunicorn.pid)"
)


@dataclass
class PlainServers:
    """A Django site in `~/<folder>` of each server's account."""

    sshds: Sequence[Sshd]
    folder: str
    index_url: str

    def __post_init__(self) -> None:
        self.binds = [f"{sshd.address}:{free_port(sshd.address)}" for sshd in self.sshds]
        self.group = fabric.ThreadingGroup.from_connections(
            fabric.Connection(
                sshd.address,
                user=sshd.user,
                port=sshd.port,
                connect_kwargs={"key_filename": str(sshd.key_file), "look_for_keys": False},
                config=fabric.Config(overrides={"load_ssh_configs": False}),
            )
            for sshd in self.sshds
        )

    def run(self, line: str, connections: Sequence[fabric.Connection] = ()) -> None:
        """Run a line of sh in the site's folder, on all servers side by side or on some."""
        group = fabric.ThreadingGroup.from_connections(connections or self.group)
        group.run(f"mkdir -p ~/{self.folder} && cd ~/{self.folder} && {line}", **QUIETLY)

    def put(self, *texts: str, name: str) -> None:
        """Write a file on every server: the same text, or one for each."""
        for connection, sshd, text in zip(self.group, self.sshds, cycle(texts), strict=False):
            target = f"{sshd.home}/{self.folder}/{name}"
            connection.put(io.BytesIO(text.encode()), remote=target)

    def copy_code(self, repository: Repository, variables: dict[str, str]) -> None:
        """Have the code and the variables on every server, as a first deployment would."""
        exports = "".join(f"{name}={shlex.quote(text)}\n" for name, text in variables.items())
        archive = repository.path.parent / "plain.tar"
        repository.git("archive", "--output", str(archive), "HEAD")
        self.run("mkdir -p code venvs")
        self.put(exports, name="variables")
        self.put(*self.binds, name="bind")
        for connection, sshd in zip(self.group, self.sshds, strict=True):
            connection.put(str(archive), remote=f"{sshd.home}/{self.folder}/code.tar")
        self.run("tar -xf code.tar -C code")

    def build_beside(self, name: str, lock: str) -> None:
        """Fill a new environment with all pins, collect, check, migrate, switch and restart."""
        self.put(lock, name="requirements.lock")
        self.run(FILL.format(name=name, index=self.index_url))
        self.run(MIGRATE.format(name=name), self.group[:1])
        self.run(f"ln -sfn venvs/{name} venv && {{ {STOP}; }}; {START}")

    def upgrade_in_place(self, pin: str) -> None:
        """Install into the environment that serves, and have gunicorn load the site again."""
        self.run(IN_PLACE.format(index=self.index_url, pin=shlex.quote(pin)))

    def wait_until_all_say(self, text: str) -> None:
        for bind in self.binds:
            until = time.monotonic() + PATIENCE
            while text not in _ask(f"http://{bind}/health/"):
                assert time.monotonic() < until, f"{bind} does not say {text}."
                time.sleep(0.02)

    def end(self) -> None:
        self.run(STOP)
        self.group.close()


def _ask(address: str) -> str:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return ""
