"""A deployment as people write it with pyinfra: a release that is there is not made again."""

import os
from pathlib import Path

from pyinfra import host
from pyinfra.facts.files import File, Link
from pyinfra.operations import files, server

PEERS = Path(os.environ["PEERS"])
RELEASE = os.environ["RELEASE"]
SITE = f"{host.data.home}/{os.environ['FOLDER']}"
ARCHIVE = f"{SITE}/release.tar.gz"
START = (
    f"set -eu; cd {SITE}; set -a; . ./variables; set +a;"
    f" release={RELEASE} venv={os.environ['VENV']} index={os.environ['INDEX']}\n"
)


def lines(*names: str) -> list[str]:
    text = "".join((PEERS / name).read_text() for name in names)
    return [START + text.replace("tar -xzf -", f"tar -xzf {ARCHIVE}")]


complete = f"{SITE}/releases/{RELEASE}/.complete"
current = host.get_fact(Link, path=f"{SITE}/current")
if not host.get_fact(File, path=complete):
    files.put(name="Send the code", src=os.environ["ARCHIVE"], dest=ARCHIVE)
    scripts = ("unpack.sh", f"prepare_{os.environ['INSTALLER']}.sh", "prepare.sh")
    server.shell(name="Prepare the release", commands=lines(*scripts))
    files.file(name="Mark it complete", path=complete)
server.shell(name="Migrate", commands=lines("migrate.sh"), _run_once=True)
if not current or not current["link_target"].endswith(f"releases/{RELEASE}"):
    server.shell(name="Switch", commands=lines("switch.sh"))
