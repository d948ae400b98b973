"""Tiers on a server: their configuration shown, tested, put into effect, and taken back."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from importlib.resources import files

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CommandFailed, RecipeError
from deploy_manager.recipes.becoming_root import AsRoot, as_root
from deploy_manager.recipes.host import Host, Site
from deploy_manager.recipes.registry import Phase, Pipeline, Uses, add_pipeline, recipe
from deploy_manager.recipes.shipping import remote_package, run_program, shipped_name, zipped
from deploy_manager.tiers.kinds import Configuration, Facts, get_kind, kinds

PACKAGE = "deploy_manager_tiers"
MAIN = f"from {PACKAGE}.main import main\nmain()\n"

INSTALLED = "/usr/local/lib/deploy_manager/tiers"
"""The folder of the program as `provision` writes it: root's own, so that sudo can allow it."""

VERSION = f"{INSTALLED}/version"
"""The last file that is written there: the hash of the others."""

RULES = "/etc/deploy_manager"
"""The folder of what the program does for each site; see remote/tiers/allowed.py."""

SYSTEM_PYTHON = "/usr/bin/python3"
STATE = "/var/lib/deploy_manager/tiers"
"""On servers: a file for each site, with what was put into effect there."""


@recipe(
    _("Show what would change in the tiers"), uses=Uses.CURRENT, on_machine=True, leads_to="tiers"
)
def preview_tiers(host: Host, site: Site) -> None:
    """Show the differences between what is wanted and what is on the server; change nothing."""
    _run_tiers(host, site, "preview", site.tiers)


@recipe(_("Test the tiers"), uses=Uses.CURRENT, on_machine=True)
def test_tiers(host: Host, site: Site) -> None:
    """Have each server program judge its new configuration, before any of them is switched."""
    _run_tiers(host, site, "test", site.tiers)


@recipe(_("Apply databases and caches"), uses=Uses.CURRENT, on_machine=True)
def apply_data_tiers(host: Host, site: Site) -> None:
    """Put the tiers behind the site into effect."""
    _run_tiers(host, site, "apply", [each for each in site.tiers if not _is_web(each)])


@recipe(_("Apply web servers"), uses=Uses.CURRENT, on_machine=True)
def apply_web_tiers(host: Host, site: Site) -> None:
    """Put the tiers before the site into effect, and end those that are not wanted any more."""
    web = [each for each in site.tiers if _is_web(each)]
    _run_tiers(host, site, "apply", web, keep=[each.name for each in site.tiers])


TIER_RECIPES = frozenset({"preview_tiers", "test_tiers", "apply_data_tiers", "apply_web_tiers"})

TIERS = Pipeline(
    "tiers",
    _("Apply the tiers"),
    (
        Phase("test", _("Test"), ("test_tiers",), gate=True),
        Phase("data_tiers", _("Databases and caches"), ("apply_data_tiers",), gate=True),
        Phase("web_tiers", _("Web servers"), ("apply_web_tiers",), gate=True),
    ),
)
add_pipeline(TIERS)


def _is_web(tier: Facts) -> bool:
    return get_kind(tier.kind).is_web


def _run_tiers(
    host: Host,
    site: Site,
    action: str,
    tiers: Iterable[Facts],
    keep: list[str] | None = None,
) -> None:
    """Run our program on the server as root, for these tiers; `keep` names all that are wanted.

    Raises CommandFailed with what the server's own program said, RecipeError.
    """
    state = f"{STATE}/{site.unit_prefix}.json"
    facts: dict[str, object] = {
        "action": action,
        "site": site.unit_prefix,
        "tiers": [as_facts(each) for each in tiers],
        "keep": keep,
    }
    was_here = host.run(["test", "-e", state], check=False, quiet=True, assume=1).ok
    if not facts["tiers"] and not was_here:
        host.say("This server has no tiers.")
        return
    _run_as_root(host, site, facts)


def _run_as_root(host: Host, site: Site, facts: dict[str, object]) -> None:
    """Run our program: sent along if the account may do anything, else the one that root owns."""
    if host.run('[ "$(id -u)" = 0 ]', check=False, quiet=True, assume=0).ok:
        root = AsRoot()
    elif site.sudo is not None:
        root = as_root(host, site, is_root=False)
    elif host.run(["sudo", "-n", "true"], check=False, quiet=True).ok:
        root = AsRoot(("sudo", "-n"))
    else:
        _run_installed(host, site, facts)
        return
    content = tiers_archive()
    name = shipped_name("tiers.pyz", content)
    run_program(host, site, content, name, facts, as_root=root)


def _run_installed(host: Host, site: Site, facts: dict[str, object]) -> None:
    # Its version, before its rights: another one may not know what we ask of it.
    found = host.run(["cat", VERSION], check=False, quiet=True)
    if found.stdout.strip() != digest_of_program():
        raise RecipeError(
            _(
                "The account may not become root on %(name)s, and %(program)s is missing or of"
                " another version: run manage.py provision %(site)s %(name)s."
            ),
            name=host.name,
            program=INSTALLED,
            site=site.environment,
        )
    words = ["sudo", "-n", *command_of(site.unit_prefix)]
    result = host.run(words, stdin=json.dumps(facts).encode(), check=False)
    if not result.ok:
        raise CommandFailed(result.stderr.strip() or result.stdout.strip(), result.exit_code)


def command_of(prefix: str) -> tuple[str, ...]:
    """Return the words that sudo allows an account: the program, for one site."""
    # -B: root's folder stays as it was written; -I: neither variables nor other folders matter.
    return (SYSTEM_PYTHON, "-IB", INSTALLED, prefix)


def installed_program() -> dict[str, str]:
    """Return the files of the program as root owns it, by path; the last one is its version."""
    found = {f"{INSTALLED}/{name}": text.decode() for name, text in _sources().items()}
    return {**found, VERSION: f"{digest_of_program()}\n"}


@cache
def digest_of_program() -> str:
    return hashlib.sha256(repr(sorted(_sources().items())).encode()).hexdigest()


def as_facts(tier: Facts) -> dict[str, object]:
    """Return the input of the program for one tier; see remote/tiers/main.py."""
    kind = get_kind(tier.kind)
    return {
        "name": tier.name,
        "kind": tier.kind,
        "label": tier.label,
        "secrets": [tier.secret],
        **_configuration(kind.configure(tier)),
    }


def _configuration(wanted: Configuration) -> dict[str, object]:
    other = wanted.without_certificate
    return {
        **asdict(wanted),
        "without_certificate": _configuration(other) if other else None,
    }


def allowed_by(tiers: Iterable[Facts]) -> dict[str, object]:
    """Return what root's program may do for a site, whatever it is sent: `provision` writes it."""
    found: dict[str, object] = {}
    for tier in tiers:
        kind = get_kind(tier.kind)
        wanted = kind.configure(tier)
        found[tier.name] = {
            "kind": tier.kind,
            "label": tier.label,
            "files": {file.path: [file.mode, file.group] for file in wanted.files},
            "test": wanted.test,
            "unit": wanted.unit,
            "own_unit": wanted.own_unit,
            "own": kind.allowed(tier),
        }
    return found


@cache
def tiers_archive() -> bytes:
    """Return the program as one zip file that Python runs."""
    return zipped(_sources())


def _sources() -> dict[str, bytes]:
    """Return the program's files: what all kinds have in common, and what each has of its own."""
    found = remote_package("tiers", PACKAGE)
    for kind in kinds().values():
        own = files(type(kind).__module__).joinpath("remote.py")
        if own.is_file():
            found[f"{PACKAGE}/of_{kind.name}.py"] = own.read_bytes()
    return {**found, "__main__.py": MAIN.encode()}
