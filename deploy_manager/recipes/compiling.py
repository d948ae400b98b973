"""Compiled modules for a new virtual environment: mostly those of the one that serves.

Compiling is most of the work of filling an environment, and nearly all that an upgrade installs is
what serves already.
"""

import json

from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.shipping import ship


def compile_modules(host: Host, site: Site, path: str) -> None:
    """Have all that is installed in the environment at `path` compiled, before it serves."""
    _run(host, site, path, compiles=True)


def take_over_modules(host: Host, site: Site, path: str) -> None:
    """Take over what is the same in the environment that serves, like pip before it is run."""
    _run(host, site, path, compiles=False)


def _run(host: Host, site: Site, path: str, *, compiles: bool) -> None:
    facts = json.dumps({"before": f"{site.current_path}/venv", "compiles": compiles})
    host.run([f"{path}/bin/python", ship(host, site, "bytecode.py")], stdin=facts.encode())
