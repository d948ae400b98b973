"""Provisioning: what a new server needs before a site can be deployed to it, shown and installed.

Both recipes are run by the server's bootstrap user. The preview leaves nothing there.
"""

import json
from dataclasses import asdict
from functools import cache

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed
from deploy_manager.recipes.becoming_root import as_root
from deploy_manager.recipes.host import Host, Result, Site
from deploy_manager.recipes.machine import PYTHON, Machine, describe
from deploy_manager.recipes.registry import recipe
from deploy_manager.recipes.shipping import remote_package, said_by, zipped

PACKAGE = "deploy_manager_provision"

START = (
    'import os, sys; sent = sys.stdin.buffer; held = os.memfd_create("provision");'
    ' open(held, "wb", closefd=False).write(sent.read(int(sent.readline())));'
    f' sys.path.insert(0, f"/proc/self/fd/{{held}}"); from {PACKAGE}.main import main; main()'
)
"""Runs a zip file that comes before the facts on stdin, from memory: no file is left behind."""

FIND_PYTHON = f"command -v {PYTHON} >/dev/null"

GET_PYTHON = f"""\
if {FIND_PYTHON}; then exit 0; fi
as_root=; [ "$(id -u)" = 0 ] || as_root="sudo -n"
command -v apt-get >/dev/null || {{ echo "It has neither {PYTHON} nor apt-get." >&2; exit 1; }}
said=$(mktemp) || exit
{{
    $as_root dpkg --configure -a
    $as_root apt-get -q -o DPkg::Lock::Timeout=300 update
    $as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y \\
        -o DPkg::Lock::Timeout=300 install --no-install-recommends {PYTHON}
}} >"$said" 2>&1 </dev/null
{FIND_PYTHON} || {{ tail -n 12 "$said" >&2; rm -f "$said"; exit 1; }}
rm -f "$said"
"""
"""Installs Python, which the guard needs, where there is none.

Its output goes to a file: written to a lost connection, it would end apt half-way.
"""


@recipe(
    _("Show what provisioning would change"),
    as_bootstrap=True,
    only_looks=True,
    on_machine=True,
    leads_to="provision",
)
def preview_provision(host: Host, site: Site) -> None:
    """Show what the server lacks for the site, and change nothing."""
    if not host.run(FIND_PYTHON, check=False, quiet=True).ok:
        host.say(f"+ apt: {PYTHON}, which is missing: it is installed first.")
        host.say("What else is missing can be seen only then. It will be made sure that there are:")
        for label, text in describe(site.machine):
            host.say(f"{label:<8} {text}".strip())
        return
    _run(host, site, changes=False)


@recipe(_("Provision"), as_bootstrap=True, on_machine=True)
def provision(host: Host, site: Site) -> None:
    """Install what the server lacks for the site; where nothing is missing, nothing changes."""
    _run(host, site, changes=True)


def get_python(host: Host, site: Site) -> Result:
    """Install Python, which the guard itself needs, where there is none. Raises RecipeError."""
    if site.sudo is None:
        return host.run(GET_PYTHON, check=False, quiet=True)
    root = as_root(host, site)
    words = [*root.words, "sh", "-c", GET_PYTHON]
    return host.run(words, stdin=root.stdin, check=False, quiet=True)


def _run(host: Host, site: Site, *, changes: bool) -> None:
    program = provision_archive()
    facts = facts_of(site.machine, changes=changes)
    stdin = b"%d\n" % len(program) + program + json.dumps(facts).encode()
    # root needs no sudo, which a new server may not have.
    is_root = host.run('[ "$(id -u)" = 0 ]', check=False, quiet=True).ok
    root = as_root(host, site, is_root=is_root)
    command = [*root.words, PYTHON, "-I", "-c", START]
    result = host.run(command, stdin=root.stdin + stdin, check=False)
    if result.ok:
        return
    said = said_by(result)
    if said.startswith("sudo:"):
        raise CommandFailed(
            _(
                "The bootstrap user of %(name)s may not become root: it needs sudo without a"
                " password, or a credential with its sudo password. %(said)s"
            ),
            result.exit_code,
            name=host.name,
            said=said,
        )
    raise CommandFailed(
        _("%(name)s: %(said)s"), exit_code=result.exit_code, name=host.name, said=said
    )


def facts_of(machine: Machine, *, changes: bool) -> dict[str, object]:
    """Return the input of the program; see remote/provision/main.py."""
    return {
        **asdict(machine),
        "changes": changes,
        "linger": machine.wants_linger,
        "cron": machine.wants_cron,
        "wanted": [f"{label:<8} {text}".strip() for label, text in describe(machine)],
    }


@cache
def provision_archive() -> bytes:
    """Return the program as one zip file, to be imported from memory."""
    return zipped(remote_package("provision", PACKAGE))
