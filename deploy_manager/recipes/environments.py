"""The virtual environment of a release: created by virtualenv, shared by releases with one lock.

An environment is named by everything that decides its content, and marked when it is complete. An
incomplete one is created again. One that was changed afterwards is neither used again nor touched,
since it may be serving: another one is created beside it, with a number after its name.
"""

import hashlib
import platform
import shlex
import sysconfig

from django.utils.translation import gettext_noop

from deploy_manager.recipes.holding import what_differs
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.links import point, prepare_link
from deploy_manager.recipes.packing import virtualenv_zipapp
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import PLAIN, run_tool, ship_file

_FACTS = """
import platform, sysconfig
print(platform.python_implementation(), platform.python_version(), sysconfig.get_platform())
"""
_SUPPOSED = Result(0, f"CPython {platform.python_version()} {sysconfig.get_platform()}\n", "")
"""What a dry run assumes of a server: the same as the worker."""


@recipe(gettext_noop("Create the virtual environment"), uses=Uses.NEWEST)
def make_virtualenv(host: Host, site: Site) -> None:
    """Create an environment for the release's pins, or use the one that has exactly these."""
    site.require_release()
    facts = python_facts(host, site)
    name = environment_name(site, facts)
    newest = _newest_complete(host, site, name)
    if newest and _holds(host, site, f"{site.venvs_path}/{newest}", facts):
        point(host, _link(site), f"../../venvs/{newest}", quiet=True)
        return
    name = f"{name}.{_number(newest) + 1}" if newest else name
    _make(host, site, f"{site.venvs_path}/{name}", facts)
    # The release may be serving: its link is switched once the new environment is complete.
    prepare_link(host, _link(site), f"../../venvs/{name}")


def _link(site: Site) -> str:
    return f"{site.release_path}/venv"


def python_facts(host: Host, site: Site) -> str:
    """Return implementation, full version and platform of the server's Python."""
    return host.run(
        [site.python, *PLAIN, "-c", _FACTS], quiet=True, assume=_SUPPOSED
    ).stdout.strip()


def _newest_complete(host: Host, site: Site, name: str) -> str:
    """Return the latest complete environment of this name, with its number; blank if none."""
    # Ends with `true`: the exit code of a loop is that of its last command, a test that may fail.
    look = (
        f"cd {shlex.quote(site.venvs_path)} 2>/dev/null && for made in {name} {name}.[0-9]*;"
        ' do test -e "$made/.complete" && echo "$made"; done; true'
    )
    return max(host.run(look, quiet=True).stdout.split(), key=_number, default="")


def _number(name: str) -> int:
    """The number after an environment's name; the first one has none, which counts as 1."""
    _name, _dot, number = name.partition(".")
    return int(number or 1)


def _holds(host: Host, site: Site, path: str, facts: str) -> bool:
    """Whether an environment has exactly the pins; differences are logged."""
    differing = what_differs(host, site, path)
    if not differing:
        host.say(f"These pins are already installed for {facts}: {path}")
        return True
    host.say(f"{path} no longer matches its pins:")
    for line in differing:
        host.say(f"  {line}")
    host.say("Another environment is created beside it.")
    return False


def environment_name(site: Site, facts: str) -> str:
    """Return an environment's name: a hash of pins, installer, index and the server's Python.

    `facts` are implementation, full version and platform: 3.11.0 and 3.11.7 may need other files.
    """
    decides = "\n".join((site.lock_digest, site.installer, site.index_url, facts))
    return hashlib.sha256(decides.encode()).hexdigest()[:32]


def _make(host: Host, site: Site, path: str, facts: str) -> None:
    _implementation, version, _platform = facts.split()
    virtualenv = ship_file(host, site, virtualenv_zipapp(site.cache, version))
    options = ["--app-data", f"{site.tools_path}/virtualenv", "--no-periodic-update"]
    # uv installs from outside, and needs no pip in the environment.
    seed = ["--no-seed"] if site.installer == "uv" else ["--no-setuptools"]
    # Left by an attempt that was interrupted: it has no mark, so nothing uses it.
    host.run(["rm", "-rf", "--", path])
    run_tool(host, site, site.python, [virtualenv, "--quiet", *options, *seed, path])
