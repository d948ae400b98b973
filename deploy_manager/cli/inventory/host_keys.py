"""Host keys on a command line: what servers show, what is pinned, and who agrees to a new one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.hosts.known_hosts import KnownKeys
from deploy_manager.inventory.host_keys import (
    CHANGED,
    NEW,
    PINNED,
    SeenKey,
    by_distance,
    fetch_host_keys,
    pin,
    server_facts,
)
from deploy_manager.models import Server

STYLES = {CHANGED: "red", NEW: "", PINNED: "green"}
JUST_PINNED = "pinned now"

Agrees = Callable[[SeenKey], bool]


def find_servers(names: Sequence[str], environment: str, project: str) -> list[Server]:
    """Return the servers that are named, or all: those of an environment, if one is named.

    Raises CommandError (exit code 2) for names that are unknown.
    """
    found = Server.objects.select_related("gateway")
    if environment:
        placed = find_environment(environment, project).placements.values("server")
        found = found.filter(pk__in=placed)
    servers = list(found)
    known = {server.name: server for server in servers}
    if unknown := [name for name in names if name not in known]:
        refuse(f"No such server: {', '.join(unknown)}. Servers: {shorten(list(known)) or 'none'}.")
    return [known[name] for name in dict.fromkeys(names)] if names else servers


def read_known_keys(file: Path) -> KnownKeys:
    """Read a file of fingerprints or a known_hosts. Raises CommandError (exit code 2)."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        refuse(f"{file} can't be read: {error.strerror}")
    except UnicodeDecodeError:
        refuse(f"{file} is not text in UTF-8.")
    known = KnownKeys(lines)
    if known.unread:
        numbers = shorten([str(number) for number in known.unread])
        refuse(
            f"{file}: line {numbers} is neither what ssh-keygen -lf prints nor a line of"
            " known_hosts."
        )
    return known


@dataclass(frozen=True)
class Outcome:
    """What a server has shown, and whether that was pinned just now."""

    seen: SeenKey
    is_new: bool = False

    @property
    def is_pinned(self) -> bool:
        return self.is_new or self.seen.state == PINNED


def pin_host_keys(servers: Sequence[Server], agrees: Agrees) -> list[Outcome]:
    """Fetch keys and pin those that are agreed to; gateways come first, as others need theirs."""
    outcomes = []
    for number, round_ in enumerate(by_distance(servers)):
        if number:
            # With the keys of their gateways, which may have been pinned in the last round.
            keys = [server.pk for server in round_]
            round_ = [each for each in _fresh() if each.pk in keys]
        for seen in fetch_host_keys(round_):
            takes = seen.key is not None and seen.state != PINNED and agrees(seen)
            line = seen.key.line if seen.key else ""
            outcomes.append(Outcome(seen, takes and pin(server_facts(seen.server), line)))
    return outcomes


def _fresh() -> Iterable[Server]:
    return Server.objects.select_related("gateway")


@dataclass(frozen=True)
class HostKeyReport(Report):
    """What each server has shown."""

    outcomes: Sequence[Outcome]

    @property
    def is_well(self) -> bool:
        """Whether each of them has shown the key that is pinned by now."""
        return all(each.is_pinned for each in self.outcomes)

    def print_on(self, view: View) -> None:
        table = make_table("server", "address", "", "its key", "pinned before")
        for each in self.outcomes:
            seen = each.seen
            server = seen.server
            table.add_row(
                clean(server.name),
                clean(f"{server.address}:{server.port}"),
                _state(each),
                seen.key.fingerprint if seen.key else clean(str(seen.problem)),
                clean(seen.pinned) if seen.state != PINNED else "",
                style="green" if each.is_new else STYLES.get(seen.state, "yellow"),
            )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        for each in self.outcomes:
            seen = each.seen
            view.write(
                "host_key",
                server=seen.server.name,
                state=seen.state,
                fingerprint=seen.key.fingerprint if seen.key else "",
                pinned=seen.pinned,
                pinned_now=each.is_new,
                message=seen.problem,
            )
        count = sum(each.is_pinned for each in self.outcomes)
        state = "pinned" if self.is_well else "not pinned"
        view.write("summary", state=state, pinned=count, asked=len(self.outcomes))


def _state(outcome: Outcome) -> str:
    return JUST_PINNED if outcome.is_new else outcome.seen.state
