"""The least that sudo has to allow the account that deploys a site: one file for sudoers.d."""

import re
from collections.abc import Iterator, Sequence

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import RecipeError
from deploy_manager.recipes.host import Site

HEADER = "# Written by deploy_manager for {environment}: changes here are lost."
FOLDER = "/etc/sudoers.d"

MAKES_ROOT = (
    "What sudo has to allow makes {account} as powerful as root: it writes units of the system,"
    " and a unit runs as whoever it names. With the supervisor systemd-user nothing has to be"
    " allowed."
)
MAKES_ROOT_BY_TIERS = (
    "What sudo has to allow makes {account} as powerful as root: it sends the configuration of"
    " {kinds}, which root reads, and which can name programs and files for root to run and write."
)
SYSTEMCTL, UNITS = "/usr/bin/systemctl", "/etc/systemd/system"

_ALIAS = re.compile(r"[A-Z][A-Z0-9_]*")
"""What sudoers takes for the name of many accounts; ALL is each one."""


def sudoers_path(site: Site) -> str:
    """Return the file's path; its name has no dot, since sudo reads no such file."""
    return f"{FOLDER}/deploy_manager-{site.unit_prefix}"


def sudoers_text(site: Site, account: str, more: Sequence[str] = ()) -> str:
    """Return the file for a site on a server; blank if the account needs nothing.

    `more` are commands that parts of the site need, as sudoers(5) has them. Raises RecipeError for
    an account that sudoers can't name.
    """
    commands = [*_commands(site), *more] if account != "root" else []
    if not commands:
        return ""
    if _ALIAS.fullmatch(account):
        raise RecipeError(
            _(
                "sudoers takes %(account)s for an alias of several accounts: give the server a"
                " user in small letters."
            ),
            account=account,
        )
    header = HEADER.format(environment=site.environment)
    lines = [f"{account} ALL=(root) NOPASSWD: {command}" for command in dict.fromkeys(commands)]
    return "\n".join([header, *lines, ""])


def makes_root(site: Site, account: str, web_servers: Sequence[str] = ()) -> str:
    """Return what it means to allow the file's commands; blank: they do what they say.

    `web_servers` are the kinds of tiers whose configuration the account sends.
    """
    if account == "root":
        return ""
    if _writes_units(site):
        return MAKES_ROOT.format(account=account)
    kinds = ", ".join(web_servers)
    return MAKES_ROOT_BY_TIERS.format(account=account, kinds=kinds) if kinds else ""


def _commands(site: Site) -> Iterator[str]:
    if _writes_units(site):
        yield from _of_units(site.unit_prefix)
    target = site.reload.target.strip()
    if site.reload.method == "systemd" and site.serves_web and target:
        yield f"{SYSTEMCTL} reload-or-restart {_literal(target)}"


def _writes_units(site: Site) -> bool:
    """Whether processes of the site are units of the system; `auto` prefers the account's own."""
    is_ours = site.reload.method == "gunicorn" and site.serves_web
    return site.supervisor == "systemd" and bool(is_ours or site.processes or site.procfile)


def _of_units(prefix: str) -> Iterator[str]:
    """Yield what remote/processes/systemd.py does by sudo, for units of this prefix alone.

    As regular expressions (sudo 1.9.10): a wildcard would match blanks, and so further words. A
    prefix has small letters, digits, - and _ only.
    """
    name = f"{prefix}-[A-Za-z0-9_-]+"
    unit, file = rf"{name}(@[0-9]+\.service|\.socket)", rf"{name}(@\.service|\.socket)"
    yield f"{SYSTEMCTL} daemon-reload"
    yield f"{SYSTEMCTL} ^(start|stop|restart|reset-failed)( {unit})+$"
    yield f"{SYSTEMCTL} ^(enable|disable)( --now)? --quiet {unit}$"
    yield f"/usr/bin/install ^-m 644 /tmp/[a-z0-9_]+{file} {UNITS}/{file}$"
    yield f"/usr/bin/rm ^-f -- {UNITS}/{file}$"
    options = "--no-pager --quiet --output=cat --lines=[0-9]+"
    yield f"/usr/bin/journalctl ^{options} --unit={unit}$"


def _literal(word: str) -> str:
    """Return a word of a command as sudoers has it: these signs have a meaning there."""
    return re.sub(r"([\\,:=])", r"\\\1", word)
