"""The virtual environment of a release: made by virtualenv, filled by pip or uv, shared by lock.

An environment is named by everything that decides what is in it. It is marked complete when it is
whole, and what is not complete is made anew.
"""

import hashlib
import platform
import shlex
import sysconfig

from django.utils.translation import gettext_noop

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.links import point
from deploy_manager.recipes.packing import uv_program, virtualenv_zipapp
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import ship_file

_FACTS = """
import platform, sysconfig
print(platform.python_implementation(), platform.python_version(), sysconfig.get_platform())
"""
LOCK = "requirements.lock"
_SUPPOSED = Result(0, f"CPython {platform.python_version()} {sysconfig.get_platform()}\n", "")
"""What a dry run takes a server to have: the same as the worker."""


@recipe(gettext_noop("Make the virtual environment"), uses=Uses.NEWEST)
def make_virtualenv(host: Host, site: Site) -> None:
    """Make an environment for the release's pins, or take the one that has them already."""
    site.require_release()
    facts = host.run([site.python, "-c", _FACTS], quiet=True, assume=_SUPPOSED).stdout.strip()
    name = environment_name(site, facts)
    path = f"{site.venvs_path}/{name}"
    if _is_usable(host, path):
        host.say(f"These pins are installed already for {facts}: {path}")
    else:
        _make(host, site, path, facts)
    point(host, f"{site.release_path}/venv", f"../../venvs/{name}", quiet=True)


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


@recipe(gettext_noop("Install the requirements"), uses=Uses.NEWEST)
def install_requirements(host: Host, site: Site) -> None:
    """Install exactly the pins, with their hashes where there are any, and check they fit."""
    site.require_release()
    venv = shlex.quote(f"{site.release_path}/venv")
    supposed = Result(1, f"{site.venvs_path}/0123\n", "")
    find = f"cd -P {venv} && pwd && test -e .complete"
    seen = host.run(find, check=False, quiet=True, assume=supposed)
    path = seen.stdout.strip()
    if not path:
        raise RecipeError("The release has no virtual environment yet: run make_virtualenv first.")
    if seen.ok:
        host.say("Nothing to install: the environment is complete.")
        return
    if not site.lock:
        raise RecipeError("There are no pins to install: see the environment's requirements.")
    host.put(site.lock.encode(), f"{path}/{LOCK}")
    _INSTALLERS[site.installer](host, site, path)
    host.put(b"", f"{path}/.complete")


def _by_pip(host: Host, site: Site, path: str) -> None:
    pip = [f"{path}/bin/python", "-m", "pip", "--no-input", "--disable-pip-version-check"]
    index = ["--index-url", site.index_url] if site.index_url else []
    host.run([*pip, "install", *_what_to_install(site, path), *index])
    host.run([*pip, "check"])


def _by_uv(host: Host, site: Site, path: str) -> None:
    facts = host.run([site.python, "-c", _FACTS], quiet=True, assume=_SUPPOSED).stdout
    program, name = uv_program(facts.split()[-1])
    uv = ship_file(host, site, program, name, mode=0o755)
    cache = ["--cache-dir", f"{site.tools_path}/uv-cache", "--python", f"{path}/bin/python"]
    index = ["--default-index", site.index_url] if site.index_url else []
    # An index page that the cache still takes for fresh may not know a version that is just out.
    options = ["--no-progress", "--refresh", "--compile-bytecode", *index]
    host.run([uv, "pip", "install", *cache, *options, *_what_to_install(site, path)])
    host.run([uv, "pip", "check", *cache])


_INSTALLERS = {"pip": _by_pip, "uv": _by_uv}


def _what_to_install(site: Site, path: str) -> list[str]:
    hashes = ["--require-hashes"] if "--hash=" in site.lock else []
    return ["--no-deps", *hashes, "-r", f"{path}/{LOCK}"]
