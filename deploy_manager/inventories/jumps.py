"""Gateways as ssh is told of them: -J, ProxyJump, and the ProxyCommand that was there before."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError

_HOP = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?"
    r"(?:\[(?P<bracketed>[^\]\s]+)\]|(?P<host>[^@:\s\[\]]+))(?::(?P<port>[0-9]{1,5}))?"
)
_NONE = "none"
_WITH_VALUE = frozenset("BbcDEeFIiJLlmOopQRSWw")
"""Options of ssh that take a value; see ssh(1)."""


@dataclass(frozen=True)
class Hop:
    """One host on the way: a server's name, or its address."""

    host: str
    user: str = ""
    port: int | None = None


def read_hops(gateway: str) -> tuple[Hop, ...]:
    """Return the hosts on the way, the nearest first. Raises InventoryError."""
    hops = []
    for each in gateway.split(","):
        found = _HOP.fullmatch(each.strip())
        if found is None:
            raise InventoryError(_("Its gateway %(gateway)r can't be read."), gateway=gateway)
        port = int(found["port"]) if found["port"] else None
        hops.append(Hop(found["bracketed"] or found["host"], found["user"] or "", port))
    return tuple(hops)


def jump_of(value: str) -> str:
    """Return the value of ProxyJump as a gateway: `none` says that there is none."""
    return "" if value.lower() == _NONE else value


def gateway_in_arguments(arguments: str) -> str | None:
    """Return the gateway that arguments of ssh name; None if they name none.

    Raises InventoryError if they connect by a command that is no plain `ssh -W`.
    """
    try:
        words = shlex.split(arguments)
    except ValueError:
        raise InventoryError(_("The arguments for ssh have an unclosed quote.")) from None
    for option, value in _options_in(words):
        name, _sep, rest = value.replace("=", " ", 1).partition(" ")
        if option == "J":
            return jump_of(value)
        if option == "o" and name.lower() == "proxyjump":
            return jump_of(rest.strip())
        if option == "o" and name.lower() == "proxycommand":
            return gateway_of_command(rest.strip())
    return None


def gateway_of_command(command: str) -> str:
    """Return the gateway of a ProxyCommand like `ssh -W %h:%p gate`. Raises InventoryError."""
    if command.lower() == _NONE:
        return ""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words and words[0].rpartition("/")[2] == "ssh":
        found = list(_options_in(words[1:]))
        hosts = [value for option, value in found if not option]
        options = dict(found)
        if len(hosts) == 1 and "W" in options and "J" not in options:
            user = f"{options['l']}@" if "l" in options else ""
            port = f":{options['p']}" if "p" in options else ""
            return f"{user}{hosts[0]}{port}"
    raise InventoryError(
        _("It is reached by a command of its own (ProxyCommand): name the gateway by ProxyJump.")
    )


def _options_in(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of ssh with their values, and each word that is none as the option ""."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "", word
            continue
        for at, letter in enumerate(word[1:], 2):
            if letter in _WITH_VALUE:
                yield letter, word[at:] or next(rest, "")
                break
