"""Noting where packages come from that a builder made of a commit or of a file at a URL.

A wheel that is sent does not say it, as pip would have noted it after fetching the same itself:
https://packaging.python.org/en/latest/specifications/direct-url/. Inventories read that note.
"""

import json
from typing import Any

from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.shipping import ship


def note_origins(host: Host, site: Site, path: str) -> None:
    """Note the origins of a site's pins in the environment at `path`."""
    origins = {name: direct_url(url) for name, url in site.origins.items()}
    script = ship(host, site, "note_origins.py")
    facts = json.dumps(origins).encode()
    host.run([f"{path}/bin/python", "-I", "-X", "utf8", script], stdin=facts, quiet=True)


def direct_url(url: str) -> dict[str, Any]:
    """Return the URL of a pin as PEP 610 has it."""
    where, _sharp, fragment = url.partition("#")
    value = fragment.partition("=")[2]
    if not where.startswith("git+"):
        return {"url": where, "archive_info": {"hashes": {"sha256": value}}}
    place, _at, commit = where.removeprefix("git+").rpartition("@")
    vcs = {"vcs": "git", "commit_id": commit, "requested_revision": commit}
    return {"url": place, "vcs_info": vcs, **({"subdirectory": value} if value else {})}
