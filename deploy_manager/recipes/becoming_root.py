"""Becoming root on a server: by a login as root, by sudo without a password, or with one."""

from dataclasses import dataclass

from deploy_manager.exceptions import ConfigurationError, RecipeError, SecretUnreadable
from deploy_manager.logins import explain
from deploy_manager.recipes.host import Host, Site

BEGIN = "the input of the command begins"
"""The line between sudo's password and what is for the command."""

_WITHOUT_PASSWORD = ("sudo", "-n")
# sudo asks for no password that it does not need, and would leave it to the command.
_SKIP = f'IFS= read -r line; [ "$line" = "{BEGIN}" ] || IFS= read -r line; exec "$@"'


@dataclass(frozen=True)
class AsRoot:
    """How a command is run as root: words before it, and what comes first on its input."""

    words: tuple[str, ...] = ()
    stdin: bytes = b""


def as_root(host: Host, site: Site, *, is_root: bool | None = None) -> AsRoot:
    """Return how commands are run as root here. Raises RecipeError if a password can't be opened.

    The password goes by stdin: it is on no command line and in no file.
    """
    if is_root is None:
        is_root = host.run('[ "$(id -u)" = 0 ]', check=False, quiet=True).ok
    if is_root:
        return AsRoot()
    if site.sudo is None:
        return AsRoot(_WITHOUT_PASSWORD)
    stdin = f"{sudo_password(site)}\n{BEGIN}\n" if site.may_fetch else ""
    return AsRoot(("sudo", "-S", "-p", "", "--", "sh", "-c", _SKIP, "sh"), stdin.encode())


def sudo_password(site: Site) -> str:
    """Return the password of the account that deploys; blank: it needs none. Raises RecipeError."""
    # In a dry run nothing is opened.
    if site.sudo is None or not site.may_fetch:
        return ""
    try:
        return site.sudo.open().value
    except (ConfigurationError, SecretUnreadable) as error:
        raise RecipeError(explain(site.sudo.name, error)) from None
