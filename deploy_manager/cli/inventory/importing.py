"""The import of servers on a command line: the file, the preview, the question."""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.inventories.source import LARGEST
from deploy_manager.inventory.changes import (
    CHANGED,
    NEW,
    REFUSED,
    UNCHANGED,
    Place,
    Plan,
    Planned,
)

STYLES = {NEW: "green", CHANGED: "cyan", REFUSED: "red", UNCHANGED: "dim"}
STDIN = Path("-")


def read_bytes(file: Path) -> bytes:
    """Return the content of a file, or of stdin for `-`. Raises CommandError (exit code 2)."""
    try:
        # One more than is taken: whatever is too large is refused, and not read to its end.
        if file == STDIN:
            return sys.stdin.buffer.read(LARGEST + 1)
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)
    except OSError as error:
        refuse(f"{file} can't be read: {error.strerror}")


def read_roles(pairs: list[str]) -> tuple[tuple[str, str], ...]:
    """Return pairs of a group and a role, given as `group=role,role`. Raises CommandError."""
    found: list[tuple[str, str]] = []
    for pair in pairs:
        group, _sign, text = pair.partition("=")
        roles = [role.strip() for role in text.split(",")]
        if not (group and all(roles)):
            refuse(f"--roles {pair!r} is not like webservers=app: a group, =, and a role.")
        found.extend((group, role) for role in roles)
    return tuple(found)


@dataclass(frozen=True)
class ImportReport(Report):
    """What an import would do, or has done, to each server."""

    plan: Plan
    written: bool = False

    def print_on(self, view: View) -> None:
        # Servers that stay are counted, not listed: of a thousand, a person looks for the others.
        listed = [each for each in self.plan.planned if not _stays(each)]
        if listed:
            table = make_table("server", "", "address", "what", "place")
            for each in listed:
                table.add_row(
                    clean(each.name),
                    each.state,
                    clean(each.address),
                    clean(_what(each)),
                    clean(_place(each.place)),
                    style=STYLES[each.state],
                )
            view.print_table(table)
        for entry in self.plan.inventory.left_out:
            view.print(Text(f"Left out: {clean(str(entry))}", style="red"))
        if self.plan.gone:
            view.remark(f"Not in the file, and left as they are: {shorten(self.plan.gone)}.")
        view.remark(describe(self.plan))

    def write_on(self, view: View) -> None:
        for each in self.plan.planned:
            view.write("server", **each.as_json())
        for entry in self.plan.inventory.left_out:
            view.write("left_out", where=str(entry.where), message=entry.reason)
        counts = self.plan.counts
        view.write(
            "summary",
            state="written" if self.written else "previewed",
            format=self.plan.inventory.format,
            **{state: counts[state] for state in STYLES},
            placed=len(self.plan.placed),
            gone=list(self.plan.gone),
        )


def describe(plan: Plan) -> str:
    """Return the numbers of an import in a line."""
    counts = plan.counts
    text = ", ".join(f"{counts[state]} {state}" for state in STYLES)
    if plan.wanted.environment is not None:
        text += f"; {len(plan.placed)} placed in {plan.wanted.environment}"
    return f"{text}."


def _stays(planned: Planned) -> bool:
    place = planned.place
    return planned.state == UNCHANGED and (place is None or place.state == UNCHANGED)


def _what(planned: Planned) -> str:
    if planned.why:
        return str(planned.why)
    if planned.state == NEW:
        return f"through {planned.gateway}" if planned.gateway else ""
    changes = (
        f"{each.field} {each.before or '-'} → {each.after or '-'}" for each in planned.changes
    )
    return "\n".join((*changes, *map(str, planned.remarks)))


def _place(place: Place | None) -> str:
    if place is None:
        return ""
    if place.why:
        return str(place.why)
    roles = ", ".join(place.roles)
    if place.state == CHANGED:
        return f"{', '.join(place.before)} → {roles}"
    return f"{place.order}: {roles}" if place.state == NEW else roles
