"""The rows of the matrix: a package each, on every server."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from deploy_manager.admin.packages.cells import NONE, Cell, CellsOfPackage, Matter
from deploy_manager.admin.packages.columns import Group
from deploy_manager.admin.packages.expected import Expected
from deploy_manager.admin.packages.facts import UNHEARD, Latest, PackageFacts

FINE_STATUSES = frozenset({"", "active"})


@dataclass(frozen=True)
class Part:
    """One package in one environment."""

    head: SafeString
    """What is pinned, and what is latest."""

    cells: tuple[Cell, ...]
    """Of each of its servers."""


@dataclass(frozen=True)
class Row:
    """One package on all servers."""

    name: str
    parts: tuple[Part, ...]
    matter: Matter
    """All that is the matter anywhere."""


class RowMaker:
    """Makes rows of what is known."""

    def __init__(self, groups: Sequence[Group], facts: PackageFacts) -> None:
        self._groups = groups
        self._facts = facts
        self._now = timezone.now()

    def make(self, name: str) -> Row:
        """Return the row of a package, and note on columns what is wrong with it."""
        parts = []
        matters = {Matter.NOTHING}
        latest = self._latest_cells(name)
        for group in self._groups:
            cells, unlike = self._cells(group, name)
            head = self._pinned(group, name) + latest[group.environment.index_url]
            parts.append(Part(head, tuple(cells)))
            matters.update(cell.matter for cell in unlike)
            if any(cell.is_wrong for cell in unlike):
                _note_wrong(group, cells)
        return Row(name, tuple(parts), reduce(or_, matters))

    def _cells(self, group: Group, name: str) -> tuple[list[Cell], list[Cell]]:
        """The cell of each column; and those of them that are not the same."""
        made: dict[Expected, CellsOfPackage] = {
            expected: CellsOfPackage(name, expected, self._facts) for expected in group.expectations
        }
        cells = [made[column.expected][column.installed.get(name)] for column in group.columns]
        return cells, [cell for of_expected in made.values() for cell in of_expected.values()]

    def _pinned(self, group: Group, name: str) -> SafeString:
        pins = self._facts.pinned.get(group.environment.pk, {}).get(name, ())
        title = "; ".join(pin.marker for pin in pins if pin.marker)
        versions = " / ".join(dict.fromkeys(pin.version for pin in pins)) or NONE
        return format_html('<td class="dm-pin" title="{}">{}</td>', title, versions)

    def _latest_cells(self, name: str) -> dict[str, SafeString]:
        """What each index has, by its address."""
        return {
            index: _latest_cell(self._facts.latest.get((index, name), UNHEARD), self._now)
            for index in {group.environment.index_url for group in self._groups}
        }


def _note_wrong(group: Group, cells: Iterable[Cell]) -> None:
    for column, cell in zip(group.columns, cells, strict=True):
        if cell.is_wrong:
            column.matter |= cell.matter


def _latest_cell(latest: Latest, now: datetime) -> SafeString:
    if not latest.version:
        why = latest.problem or _("The package index was not asked yet.")
        return format_html(
            '<td class="dm-latest dm-quiet" title="{}">? <small>{}</small></td>', why, _("unknown")
        )
    told = [] if latest.status in FINE_STATUSES else [latest.status]
    title = [latest.problem] if latest.problem else []
    if latest.uploaded_at:
        told.append(_("%(age)s old") % {"age": timesince(latest.uploaded_at, now, depth=1)})
        title.append(date_format(timezone.localtime(latest.uploaded_at), "DATETIME_FORMAT"))
    return format_html(
        '<td class="dm-latest" title="{}">{} <small>{}</small></td>',
        " ".join(title),
        latest.version,
        ", ".join(told),
    )
