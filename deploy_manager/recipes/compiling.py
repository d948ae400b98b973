"""Bytecode for a new virtual environment, mostly copied from the current one.

Compiling is most of the work of filling an environment, and an upgrade changes few packages.
"""

import json

from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.shipping import ship


def compile_modules(host: Host, site: Site, path: str) -> None:
    """Compile every module in the environment at `path`, before it serves."""
    _run(host, site, path, compiles=True)


def take_over_modules(host: Host, site: Site, path: str) -> None:
    """Copy the bytecode of modules that are the same in the current environment."""
    _run(host, site, path, compiles=False)


def _run(host: Host, site: Site, path: str, *, compiles: bool) -> None:
    facts = json.dumps({"before": f"{site.current_path}/venv", "compiles": compiles})
    host.run([f"{path}/bin/python", ship(host, site, "bytecode.py")], stdin=facts.encode())
