"""Installing a release's pins into its virtual environment, by pip or uv."""

import shlex

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.compiling import compile_modules, take_over_modules
from deploy_manager.recipes.environments import python_facts
from deploy_manager.recipes.holding import what_differs
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.links import beside, switch_link
from deploy_manager.recipes.origins import note_origins
from deploy_manager.recipes.packing import uv_program
from deploy_manager.recipes.registry import Uses, recipe
from deploy_manager.recipes.shipping import SHIPPED_LOCK, WHEELS, run_tool, ship_file

LOCK = "requirements.lock"
SHIPPED = "shipped"
"""The value of Site.wheels for servers that need no index."""


@recipe(_("Install the requirements"), uses=Uses.NEWEST)
def install_requirements(host: Host, site: Site) -> None:
    """Install exactly the pins, with their hashes if there are any, and check the result."""
    site.require_release()
    path, is_complete, is_prepared = _find_environment(host, site)
    if not is_complete:
        _fill(host, site, path)
    else:
        host.say("Nothing to install: the environment is complete.")
    if is_prepared:
        switch_link(host, f"{site.release_path}/venv")


def _find_environment(host: Host, site: Site) -> tuple[str, bool, bool]:
    """Return its path, whether it is complete, and whether the link has yet to be switched."""
    venv = f"{site.release_path}/venv"
    supposed = Result(1, f"{site.venvs_path}/0123\n{beside(venv)}\n", "")
    # The prepared link first: it leads to what was made last. -P: a path without that link.
    find = (
        f"for link in {shlex.quote(beside(venv))} {shlex.quote(venv)}; do"
        ' if cd -P "$link" 2>/dev/null; then pwd; echo "$link"; test -e .complete; exit; fi; done'
    )
    seen = host.run(find, check=False, quiet=True, assume=supposed)
    path, _newline, link = seen.stdout.strip().partition("\n")
    if not path:
        raise RecipeError(
            _("The release has no virtual environment yet: run make_virtualenv first.")
        )
    return path, seen.ok, link == beside(venv)


def _fill(host: Host, site: Site, path: str) -> None:
    if not site.lock:
        raise RecipeError(
            _("There are no pins to install: import requirements into the environment first.")
        )
    host.put(site.lock.encode(), f"{path}/{LOCK}")
    if site.wheels == SHIPPED:
        # Not at the top: Django imports recipes when it starts, and this imports all of wheels.
        from deploy_manager.recipes.sending import send_wheels

        send_wheels(host, site, path)
    _INSTALLERS[site.installer](host, site, path)
    if site.wheels == SHIPPED and site.origins:
        note_origins(host, site, path)
    _require_pins(host, site, path)
    compile_modules(host, site, path)
    # Last: if anything before it fails or dies, the environment is made again.
    host.put(b"", f"{path}/.complete")


def _require_pins(host: Host, site: Site, path: str) -> None:
    """Raise RecipeError if the result differs from the pins, whatever the installer reported."""
    if differing := what_differs(host, site, path):
        lines = "\n".join(f"  {line}" for line in differing)
        raise RecipeError(
            _("%(path)s does not match its pins and is not used:\n%(lines)s"),
            path=path,
            lines=lines,
        )


def _by_pip(host: Host, site: Site, path: str) -> None:
    take_over_modules(host, site, path)  # pip's own modules too, so pip starts faster
    python = f"{path}/bin/python"
    pip = ["pip", "--no-input", "--disable-pip-version-check"]
    what = _what_to_install(site, path)
    # Not compiled by pip, on one processor: see compile_modules.
    run_tool(host, site, python, [*pip, "install", "--no-compile", *what])
    run_tool(host, site, python, [*pip, "check"])


def _by_uv(host: Host, site: Site, path: str) -> None:
    program, name = uv_program(python_facts(host, site).split()[-1])
    uv = ship_file(host, site, program, name, mode=0o755)
    cache = ["--cache-dir", f"{site.tools_path}/uv-cache", "--python", f"{path}/bin/python"]
    # An index page that is still fresh in the cache may lack a version released just now. uv has a
    # list of authorities of its own, which lacks those of a company's network.
    options = ["--no-progress", "--refresh", "--system-certs"]
    what = _what_to_install(site, path)
    run_tool(host, site, site.python, [uv, "pip", "install", *cache, *options, *what])
    run_tool(host, site, site.python, [uv, "pip", "check", *cache])


_INSTALLERS = {"pip": _by_pip, "uv": _by_uv}


def _what_to_install(site: Site, path: str) -> list[str]:
    """Return the options that pip and uv share."""
    if site.wheels == SHIPPED:
        source = ["--no-index", "--find-links", f"{path}/{WHEELS}", "--only-binary", ":all:"]
        return ["--no-deps", "--require-hashes", *source, "-r", f"{path}/{SHIPPED_LOCK}"]
    hashes = ["--require-hashes"] if "--hash=" in site.lock else []
    return ["--no-deps", *hashes, "-r", f"{path}/{LOCK}"]
