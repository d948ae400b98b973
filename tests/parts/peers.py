"""What people deploy with instead: real programs, which do the same work on the same servers.

Their files are in tests/peers. Each keeps its releases in a folder of its own of each account.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts.repository import Repository
from tests.parts.sshd import Sshd

PEERS = Path(__file__).parent.parent / "peers"
PROGRAMS = ("pyinfra==3.10.0", "ansible-core>=2.19")
LEFT_OUT = {
    "Capistrano": "it deploys to one path on all servers, and these four share one disk",
}
"""Who is not measured, and why."""

SSH_CONFIG = """Host {name}
    HostName {sshd.address}
    Port {sshd.port}
    User {sshd.user}
    IdentityFile {sshd.key_file}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
"""


@dataclass(frozen=True)
class Order:
    """What is to be deployed."""

    commit: str
    lock: Path
    """A file `requirements.lock`."""

    lock_id: str
    """Of its content: what a virtual environment is named by."""

    installer: str
    """pip or uv."""

    number: int
    """Another one for each order."""


@dataclass(frozen=True)
class World:
    """The servers, and what every peer is told of them."""

    sshds: Mapping[str, Sshd]
    """By the name in the ssh configuration."""

    repository: Repository
    index_url: str
    ssh_config: Path

    @classmethod
    def make(
        cls, folder: Path, sshds: Mapping[str, Sshd], repository: Repository, index_url: str
    ) -> "World":
        """Write the ssh configuration, and have uv on each server."""
        folder.mkdir()
        known = folder / "known_hosts"
        known.write_text(
            "".join(f"[{one.address}]:{one.port} {one.host_key}\n" for one in sshds.values())
        )
        config = folder / "ssh_config"
        config.write_text(
            "".join(
                SSH_CONFIG.format(name=name, sshd=sshd, known_hosts=known)
                for name, sshd in sshds.items()
            )
        )
        for sshd in sshds.values():
            _have_uv(sshd)
        return cls(sshds, repository, index_url, config)

    def prepare(self, folder: str, variables: Mapping[str, str]) -> None:
        """Have a peer's folder on each server, with the site's variables in it."""
        database = next(iter(self.sshds.values())).home / f"{folder}.sqlite3"
        lines = [
            f"{name}={shlex.quote(value)}\n"
            for name, value in {**variables, "DATABASE_PATH": str(database)}.items()
        ]
        for sshd in self.sshds.values():
            path = sshd.home / folder
            path.mkdir()
            (path / "variables").write_text("".join(lines))
            for made in (path, path / "variables"):
                shutil.chown(made, sshd.user, sshd.user)

    def variables(self, folder: str, order: Order, release: str) -> dict[str, str]:
        """Return what a peer finds in its environment."""
        return {
            "PEERS": str(PEERS),
            "SERVERS": " ".join(self.sshds),
            "HOMES": " ".join(str(sshd.home) for sshd in self.sshds.values()),
            "SSH_CONFIG": str(self.ssh_config),
            "REPOSITORY": str(self.repository.path),
            "INDEX": self.index_url,
            "FOLDER": folder,
            "COMMIT": order.commit,
            "LOCK": str(order.lock),
            "VENV": order.lock_id,
            "INSTALLER": order.installer,
            "RELEASE": release,
        }


@dataclass(frozen=True)
class Peer:
    """A program that deploys."""

    name: str
    folder: str
    words: Sequence[str]
    names_by_content: bool = False
    """Whether a release is named by what is in it, so that one that is there is used again."""

    more: Mapping[str, str] | None = None
    """Variables of its own."""

    def deploy(self, world: World, order: Order) -> None:
        """Run it to its end. Raises AssertionError with what it printed if it fails."""
        content = f"{order.commit[:12]}-{order.lock_id}"
        release = content if self.names_by_content else f"{order.number:05d}"
        variables = world.variables(self.folder, order, release)
        run_whole(self.words, {**os.environ, **variables, **(self.more or {})})

    def served(self, world: World) -> set[Path]:
        """What `current` is on the servers."""
        return {(sshd.home / self.folder / "current").resolve() for sshd in world.sshds.values()}


def run_whole(words: Sequence[str], environment: Mapping[str, str], cwd: Path = PEERS) -> str:
    """Run a command to its end and return what it printed; fails with that if it fails."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}"
    return done.stdout


def plain_peers() -> list[Peer]:
    """Return those that need nothing which we do not need."""
    fab = str(Path(sys.executable).with_name("fab"))
    return [
        Peer("bare ssh script", "script", ["sh", "deploy.sh"]),
        Peer("plain Fabric", "fabric", [fab, "deploy"]),
    ]


def installed_peers(folder: Path, ssh_config: Path) -> list[Peer]:
    """Install the others into a folder and return them."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    words = ["install", "--quiet", "--disable-pip-version-check", *PROGRAMS]
    subprocess.run([folder / "bin/pip", *words], check=True)
    programs = {"PROGRAMS": str(folder / "bin")}
    for_ansible = {
        "ANSIBLE_CONFIG": str(PEERS / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_SSH_ARGS": f"-F {ssh_config} -o ControlMaster=auto -o ControlPersist=60s",
    }
    playbook = [str(folder / "bin/ansible-playbook"), "ansible_playbook.yml"]
    return [
        Peer("pyinfra", "pyinfra", ["sh", "pyinfra.sh"], names_by_content=True, more=programs),
        Peer("Ansible", "ansible", playbook, names_by_content=True, more=for_ansible),
    ]


def _have_uv(sshd: Sshd) -> None:
    programs = sshd.home / "bin"
    programs.mkdir()
    shutil.copy(Path(sys.executable).with_name("uv"), programs / "uv")
