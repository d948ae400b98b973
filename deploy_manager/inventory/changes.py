"""What an import would do: to each server, and to its place in an environment."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.functional import cached_property

from deploy_manager.inventories.found import FoundServer, Inventory
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement, Server
from deploy_manager.models.rights import Right, may

if TYPE_CHECKING:
    from django.contrib.auth.models import User

NEW, CHANGED, UNCHANGED, REFUSED = "new", "changed", "unchanged", "refused"
STATES = (REFUSED, NEW, CHANGED, UNCHANGED)


@dataclass(frozen=True)
class Wanted:
    """What a person wants of an import besides the file itself."""

    environment: Environment | None = None
    """Where the servers are placed; None: nowhere."""

    roles: tuple[tuple[str, str], ...] = ()
    """Pairs of a group and the role that its servers get; the group `all` has every server."""

    change_roles: bool = False
    """Whether servers that have a place there get other roles, too."""

    user: str = ""
    """The user of new servers for which the file names none."""

    by: "User | None" = field(default=None, compare=False)
    """Who wants it, by whose rights it is checked; a command line has none and is trusted."""

    def may(self, right: Right, row: Environment | Server | None) -> bool:
        return self.by is None or may(self.by, right, row)


@dataclass(frozen=True)
class Change:
    """One value of a row that becomes another."""

    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Place:
    """A server's place in the environment: new, with other roles, as it is, or none."""

    state: str
    roles: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    order: int | None = None
    why: Message = field(default_factory=Message)
    row: Placement | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Planned:
    """What would become of one entry of the file."""

    found: FoundServer
    state: str
    server: Server | None = None
    """The row, with the values that it would have, except its gateway."""

    gateway: str = ""
    """The name of its gateway."""

    changes: tuple[Change, ...] = ()
    why: Message = field(default_factory=Message)
    remarks: tuple[Message, ...] = ()
    place: Place | None = None

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def address(self) -> str:
        """Return how it would be reached, as lists show it; blank for this machine."""
        server = self.server
        if server is None or server.is_local:
            return ""
        return f"{server.user}@{server.address}:{server.port}"

    @property
    def row(self) -> Server | None:
        """The server there is; None: it is new."""
        return self.server if self.server is not None and self.server.pk else None

    @property
    def is_written(self) -> bool:
        return self.state in (NEW, CHANGED)

    def as_json(self) -> dict[str, Any]:
        place = self.place
        return {
            "name": self.name,
            "state": self.state,
            "address": self.address,
            "gateway": self.gateway,
            "changes": [[each.field, each.before, each.after] for each in self.changes],
            "message": str(self.why),
            "remarks": [str(remark) for remark in self.remarks],
            "place": place
            and {
                "state": place.state,
                "roles": list(place.roles),
                "before": list(place.before),
                "order": place.order,
                "message": str(place.why),
            },
        }


@dataclass(frozen=True)
class Plan:
    """What an import would do, all of it."""

    wanted: Wanted
    inventory: Inventory
    planned: tuple[Planned, ...]
    gone: tuple[str, ...]
    """Names of servers that the file does not have: they stay as they are."""

    @cached_property
    def counts(self) -> Counter[str]:
        left_out = len(self.inventory.left_out)
        return Counter(each.state for each in self.planned) + Counter({REFUSED: left_out})

    @cached_property
    def placed(self) -> list[Planned]:
        """Those that get a place, or other roles in the one they have."""
        return [each for each in self.planned if each.place and each.place.state in (NEW, CHANGED)]

    @property
    def writes(self) -> bool:
        """Whether anything would be written."""
        return bool(self.placed or any(each.is_written for each in self.planned))

    @cached_property
    def digest(self) -> str:
        """A fingerprint of all that would be written: what was shown is what is written."""
        # Without what is only told: the language of the reader is no part of it.
        written = [
            {**each.as_json(), "message": "", "remarks": "", "place": _written_place(each.place)}
            for each in self.planned
        ]
        environment = self.wanted.environment
        facts = [environment and environment.pk, written]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _written_place(place: Place | None) -> list[Any] | None:
    return None if place is None else [place.state, place.roles, place.before, place.order]
