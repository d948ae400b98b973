"""Ping: check that a server can be reached, and show its Python and free space."""

from django.utils.translation import gettext_noop

from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import recipe

FACTS = """
import os, platform, shutil, sys
path = sys.argv[1]
while not os.path.isdir(path):
    path = os.path.dirname(path)
free = shutil.disk_usage(path).free // 2**20
print("Python", platform.python_version(), "on", platform.platform())
print(free, "MiB free in", path)
"""


@recipe(gettext_noop("Ping"), on_machine=True, only_looks=True)
def ping(host: Host, site: Site) -> None:
    """Show the server's Python, system and free space. Changes nothing."""
    host.run([site.python, "-c", FACTS, site.deploy_path])
