"""The virtual environment of a release: made by virtualenv, shared by lock.

An environment is named by everything that decides what is in it. It is marked complete when it is
whole, and what is not complete is made anew.
"""

import hashlib
import platform
import shlex
import sysconfig

from django.utils.translation import gettext_noop

from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.links import point
from deploy_manager.recipes.packing import virtualenv_zipapp
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import ship_file

_FACTS = """
import platform, sysconfig
print(platform.python_implementation(), platform.python_version(), sysconfig.get_platform())
"""
_SUPPOSED = Result(0, f"CPython {platform.python_version()} {sysconfig.get_platform()}\n", "")
"""What a dry run takes a server to have: the same as the worker."""


@recipe(gettext_noop("Make the virtual environment"), uses=Uses.NEWEST)
def make_virtualenv(host: Host, site: Site) -> None:
    """Make an environment for the release's pins, or take the one that has them already."""
    site.require_release()
    facts = python_facts(host, site)
    name = environment_name(site, facts)
    path = f"{site.venvs_path}/{name}"
    if _is_usable(host, path):
        host.say(f"These pins are installed already for {facts}: {path}")
    else:
        _make(host, site, path, facts)
    point(host, f"{site.release_path}/venv", f"../../venvs/{name}", quiet=True)


def python_facts(host: Host, site: Site) -> str:
    """Return implementation, full version and platform of the server's own Python."""
    return host.run([site.python, "-c", _FACTS], quiet=True, assume=_SUPPOSED).stdout.strip()


def _is_usable(host: Host, path: str) -> bool:
    """Whether an environment is whole, and the interpreter that it was made from still there."""
    complete, python = shlex.quote(f"{path}/.complete"), shlex.quote(f"{path}/bin/python")
    usable = f"test -e {complete} && test -x {python}"
    return host.run(usable, check=False, quiet=True, assume=1).ok


def environment_name(site: Site, facts: str) -> str:
    """Return the name that pins, installer and the server's own Python give an environment.

    `facts` are implementation, full version and platform: 3.11.0 and 3.11.7 may need other files.
    """
    decides = "\n".join((site.lock_digest, site.installer, site.index_url, facts))
    return hashlib.sha256(decides.encode()).hexdigest()[:32]


def _make(host: Host, site: Site, path: str, facts: str) -> None:
    _implementation, version, _platform = facts.split()
    virtualenv = ship_file(host, site, virtualenv_zipapp(site.cache, version))
    options = ["--app-data", f"{site.tools_path}/virtualenv", "--no-periodic-update"]
    seed = ["--no-seed"] if site.installer == "uv" else ["--no-setuptools"]
    make = shlex.join([site.python, virtualenv, "--quiet", *options, *seed, path])
    host.run(f"rm -rf -- {shlex.quote(path)} && {make}")
