"""Files like ~/.ssh/config: each host with a name of its own is a server, patterns are none.

paramiko reads the blocks. It is given only what says how a host is reached, and none of the blocks
that run a command to find out whether they apply (`Match exec`).
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InventoryError
from deploy_manager.inventories.format import Format
from deploy_manager.inventories.found import FoundServer, Inventory, LeftOut, at_line, take_each
from deploy_manager.inventories.jumps import gateway_of_command, jump_of
from deploy_manager.inventories.source import Source
from deploy_manager.inventories.values import name_of, port_of, text_of
from deploy_manager.messages import Message

# As paramiko splits a line, so that both see the same keyword.
_LINE = re.compile(r"(\w+)(?:\s*=\s*|\s+)(.+)")
_BEGINS = re.compile(r"^[ \t]*(host|match)(?:[ \t]*=[ \t]*|[ \t]+)\S", re.I | re.M)
USED = frozenset({"hostname", "port", "user", "proxyjump", "proxycommand"})


@dataclass
class Block:
    """A `Host` with its lines, and the line where it begins."""

    patterns: Sequence[str]
    number: int
    lines: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [each for each in self.patterns if not re.search(r"[*?!]", each)]

    @property
    def has_patterns(self) -> bool:
        return len(self.names) < len(self.patterns)


@dataclass(frozen=True)
class Named:
    """A host by its name, and the blocks that may say something of it."""

    name: str
    blocks: tuple[Block, ...]


def _looks_like(source: Source) -> bool:
    return _BEGINS.search(source.text) is not None


def _read(source: Source) -> Inventory:
    left_out: list[LeftOut] = []
    blocks = list(_blocks(source.text, left_out))
    return take_each(_hosts(blocks), _server, left_out)


def _blocks(text: str, left_out: list[LeftOut]) -> Iterator[Block]:
    block: Block | None = Block(["*"], 1)
    for number, keyword, value in _lines(text, left_out):
        if keyword in ("host", "match"):
            if block is not None:
                yield block
            block = _begin(keyword, value, number, left_out)
        elif block is not None and keyword in USED:
            block.lines.append(f"{keyword} {value}")
    if block is not None:
        yield block


def _lines(text: str, left_out: list[LeftOut]) -> Iterator[tuple[int, str, str]]:
    """Yield the number, the keyword and the value of each line that says something."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.match(stripped)
        if found is None:
            reason = Message(_("It is not a line of ssh_config."))
            left_out.append(LeftOut(at_line(number), reason))
        elif found[1].lower() == "include":
            reason = Message(_("Other files are not read: import them, too."))
            left_out.append(LeftOut(at_line(number), reason))
        else:
            yield number, found[1].lower(), found[2]


def _begin(keyword: str, value: str, number: int, left_out: list[LeftOut]) -> Block | None:
    """Return the block that begins here; None if it is left out, with the reason."""
    if keyword == "match":
        reason = Message(_("Match blocks are not read, as they may run commands: use Host."))
    else:
        try:
            return Block(shlex.split(value), number)
        except ValueError:
            reason = Message(_("Its names have an unclosed quote."))
    left_out.append(LeftOut(at_line(number), reason))
    return None


def _hosts(blocks: Sequence[Block]) -> Iterator[tuple[Message, Named]]:
    """Yield each host once, at its first line, with its own blocks and those with patterns."""
    own: dict[str, list[int]] = {}
    for at, block in enumerate(blocks):
        for name in dict.fromkeys(block.names):
            own.setdefault(name, []).append(at)
    patterns = [at for at, block in enumerate(blocks) if block.has_patterns]
    for name, places in own.items():
        first = blocks[places[0]]
        if _is_second_name(name, first):
            continue
        relevant = sorted({*patterns, *places})
        yield at_line(first.number), Named(name, tuple(blocks[at] for at in relevant))


def _is_second_name(name: str, block: Block) -> bool:
    """Whether the names of a block are of one host: they are if it says where that is."""
    has_address = any(line.startswith("hostname ") and "%" not in line for line in block.lines)
    return has_address and name != block.names[0]


def _server(host: Named) -> FoundServer:
    from paramiko import SSHConfig
    from paramiko.ssh_exception import ConfigParseError

    text = "\n".join(
        line
        for block in host.blocks
        for line in (f"Host {shlex.join(block.patterns)}", *block.lines)
    )
    try:
        known = SSHConfig.from_text(text).lookup(host.name)
    except (ConfigParseError, ValueError, KeyError) as error:
        raise InventoryError(_("It can't be read: %(why)s"), why=str(error)) from None
    gateway = None
    if "proxyjump" in known:
        gateway = jump_of(text_of(known["proxyjump"]))
    elif known.get("proxycommand"):
        gateway = gateway_of_command(text_of(known["proxycommand"]))
    return FoundServer(
        name=name_of(host.name),
        address=text_of(known["hostname"]),
        port=port_of(known.get("port")),
        user=text_of(known.get("user")),
        gateway=gateway,
    )


FORMAT = Format("ssh_config", "ssh_config", _looks_like, _read)
