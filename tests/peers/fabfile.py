"""A deployment as people write it with plain Fabric: a thread and a connection for each server."""

import os
import subprocess
import tempfile
from pathlib import Path

import fabric
from invoke.context import Context
from invoke.tasks import task

PEERS = Path(__file__).parent
START = (
    "set -eu; cd ~/{FOLDER}; set -a; . ./variables; set +a;"
    " release={RELEASE} venv={VENV} index={INDEX}\n"
)


@task
def deploy(_context: Context) -> None:
    config = fabric.Config(runtime_ssh_path=os.environ["SSH_CONFIG"])
    servers = os.environ["SERVERS"].split()
    group = fabric.ThreadingGroup(*servers, config=config)
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
        pack(archive.name)
        archive_there = f"{os.environ['FOLDER']}/release.tar.gz"
        group.put(archive.name, remote=archive_there)
    unpack = lines("unpack.sh").replace("tar -xzf -", "tar -xzf release.tar.gz")
    installer = f"prepare_{os.environ['INSTALLER']}.sh"
    group.run(start() + unpack + lines(installer) + lines("prepare.sh"), hide=True)
    group[0].run(start() + lines("migrate.sh"), hide=True)
    group.run(start() + lines("switch.sh"), hide=True)
    group.close()


def pack(archive: str) -> None:
    words = ["git", "-C", os.environ["REPOSITORY"], "archive", "--format=tar.gz"]
    words += [f"--add-file={os.environ['LOCK']}", f"--output={archive}", os.environ["COMMIT"]]
    subprocess.run(words, check=True)


def start() -> str:
    return START.format_map(os.environ)


def lines(name: str) -> str:
    return (PEERS / name).read_text()
