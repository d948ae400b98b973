"""Our own scripts on a server: sent once, found again by their content."""

import hashlib
import shlex
from importlib.resources import files
from pathlib import PurePosixPath

from deploy_manager.recipes.host import Host, Site

HASH_CHARACTERS = 12


def ship(host: Host, site: Site, name: str) -> str:
    """Return the server's path of `recipes/remote/<name>`, sent there unless it already is.

    The path has a hash of the content in it: a script that runs is never written over.
    """
    content = files("deploy_manager.recipes").joinpath("remote", name).read_bytes()
    path = f"{site.tools_path}/{shipped_name(name, content)}"
    folder = shlex.quote(site.tools_path)
    is_there = f"mkdir -p {folder} && test -f {shlex.quote(path)}"
    if not host.run(is_there, check=False, quiet=True).ok:
        host.put(content, path)
    return path


def shipped_name(name: str, content: bytes) -> str:
    """Return `<stem>-<hash><suffix>`."""
    digest = hashlib.sha256(content).hexdigest()[:HASH_CHARACTERS]
    parts = PurePosixPath(name)
    return f"{parts.stem}-{digest}{parts.suffix}"
