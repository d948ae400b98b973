"""The matrix of servers and packages, made of what the rows know."""

from collections.abc import Collection, Sequence
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

from deploy_manager.admin.package_cells import EMPTY, NONE, CellMaker, Matter
from deploy_manager.admin.package_facts import UNHEARD, Latest, PackageFacts, Place
from deploy_manager.admin.package_filter import ALL, Asked
from deploy_manager.admin.package_standards import Standard, make_standard
from deploy_manager.admin.run_page import run_url
from deploy_manager.admin.stories import CONVERGE
from deploy_manager.models import Environment

FINE_STATUSES = frozenset({"", "active"})


@dataclass
class Column:
    """One server in one environment."""

    place: Place
    standard: Standard
    installed: dict[str, str]
    matter: Matter = Matter.NOTHING
    """Of all its packages."""

    @property
    def has_drift(self) -> bool:
        return bool(self.matter & Matter.DRIFT)

    @property
    def age(self) -> str:
        """How long ago its packages were seen, like `3 hours`; blank where they never were."""
        return timesince(self.place.seen_at, depth=1) if self.place.seen_at else ""

    @property
    def converge_url(self) -> str:
        """The page that makes the server like the others of its environment."""
        return run_url(CONVERGE, [self.place.environment], [self.place.server])


@dataclass(frozen=True)
class Group:
    """An environment and its servers that are shown."""

    environment: Environment
    columns: tuple[Column, ...]
    may_deploy: bool

    @property
    def width(self) -> int:
        """Columns, with those of what is pinned and what is latest."""
        return len(self.columns) + 2


@dataclass(frozen=True)
class Row:
    """One package on all servers."""

    name: str
    cells: tuple[SafeString, ...]
    matter: Matter

    @property
    def html(self) -> SafeString:
        """All cells behind the package's name."""
        return format_html("{}" * len(self.cells), *self.cells)


@dataclass(frozen=True)
class PackageTable:
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    left_out: int
    """How many packages the filter by what is the matter left out."""


def make_table(
    facts: PackageFacts, asked: Asked, deployable: Collection[Environment]
) -> PackageTable:
    """Return the servers and packages that a filter asks for."""
    groups = tuple(_groups(facts, asked, deployable))
    columns = [column for group in groups for column in group.columns]
    installed = {name for column in columns for name in column.installed}
    pinned = {name for group in groups for name in facts.pinned.get(group.environment.pk, ())}
    maker = _RowMaker(groups, facts)
    rows = [maker.make(name) for name in sorted(installed | pinned) if asked.has_package(name)]
    shown = [row for row in rows if not asked.matter or row.matter & asked.matter]
    if asked.only != ALL:
        shown.sort(key=lambda row: _rank(row.matter))
    return PackageTable(groups, tuple(shown), len(rows) - len(shown))


def _rank(matter: Matter) -> int:
    """The place of a row: vulnerable, not as pinned, unknown, behind, and then the rest."""
    lowest_bit = matter.value & -matter.value
    return lowest_bit or Matter.UNAUDITED.value * 2


def _groups(facts: PackageFacts, asked: Asked, deployable: Collection[Environment]) -> list[Group]:
    columns = _Columns(facts, deployable)
    found = []
    for environment in asked.environments:
        places = [place for place in facts.places if place.environment == environment.pk]
        made = [columns.make(place, environment) for place in places]
        shown = tuple(column for column in made if asked.has_versions(column.installed))
        if shown or not asked.package:
            found.append(Group(environment, shown, environment in deployable))
    return found


class _Columns:
    """Makes columns; servers that are alike share what they are measured by."""

    def __init__(self, facts: PackageFacts, deployable: Collection[Environment]) -> None:
        self._facts = facts
        self._deployable = deployable
        self._made: dict[tuple[object, ...], Standard] = {}

    def make(self, place: Place, environment: Environment) -> Column:
        alike = (environment.pk, place.is_known, *place[-3:])
        if alike not in self._made:
            may_upgrade = environment in self._deployable
            self._made[alike] = make_standard(place, environment, self._facts, may_upgrade)
        return Column(place, self._made[alike], self._facts.installed.get(place.pk, {}))


class _RowMaker:
    def __init__(self, groups: Sequence[Group], facts: PackageFacts) -> None:
        self._groups = groups
        self._facts = facts
        self._cells = CellMaker(facts)

    def make(self, name: str) -> Row:
        made: list[SafeString] = []
        matters = []
        for group in self._groups:
            made += (self._pinned(group, name), self._latest(group, name))
            for column in group.columns:
                cell = self._cells.make(column.standard, name, column.installed.get(name))
                made.append(cell.html)
                if cell is not EMPTY:
                    column.matter |= cell.matter
                    matters.append(cell.matter)
        return Row(name, tuple(made), reduce(or_, set(matters), Matter.NOTHING))

    def _pinned(self, group: Group, name: str) -> SafeString:
        pins = self._facts.pinned.get(group.environment.pk, {}).get(name, ())
        title = "; ".join(pin.marker for pin in pins if pin.marker)
        versions = " / ".join(dict.fromkeys(pin.version for pin in pins)) or NONE
        return format_html('<td class="dm-pin" title="{}">{}</td>', title, versions)

    def _latest(self, group: Group, name: str) -> SafeString:
        return _latest_cell(
            self._facts.latest.get((group.environment.index_url, name), UNHEARD), timezone.now()
        )


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
