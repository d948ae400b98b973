"""The table of servers and packages: a column for each server, a row for each package."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from operator import or_

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from deploy_manager.admin.addresses import run_url
from deploy_manager.admin.badges import NONE
from deploy_manager.admin.packages.cells import (
    Cell,
    CellsOfPackage,
    Expected,
    Matter,
    make_expected,
)
from deploy_manager.admin.packages.facts import UNHEARD, Latest, PackageFacts, Place
from deploy_manager.admin.packages.filter import ALL, Asked
from deploy_manager.admin.packages.heads import HeadMaker
from deploy_manager.models import Environment
from deploy_manager.models.deployments import CONVERGE, DEPLOY
from deploy_manager.models.serving import usual_release

_Usual = tuple[int | None, int]
"""The release that most servers of an environment serve, and the number of them."""

FINE_STATUSES = frozenset({"", "active"})
"""Project statuses of PEP 792 that are not worth a note."""

_Order = tuple[int, tuple[int, ...]]
"""The index of an environment in the parts of a row, and that of each server's cell there."""


@dataclass
class Column:
    """One server in one environment."""

    place: Place
    expected: Expected
    installed: dict[str, str]
    repair: str
    """The pipeline that repairs it: converge, or deploy if no other server is a model."""

    matter: Matter = Matter.NOTHING
    """What is wrong with those of its packages that are shown."""

    @property
    def has_drift(self) -> bool:
        return bool(self.matter & Matter.DRIFT)

    @property
    def seen(self) -> str:
        """How long ago its packages were seen, as text."""
        seen_at = self.place.seen_at
        if seen_at is None:
            return _("never seen")
        return _("seen %(age)s ago") % {"age": timesince(seen_at, depth=1)}

    @property
    def asked(self) -> str:
        """The state of a question that is not answered yet; blank if there is none."""
        if not self.place.is_asked:
            return ""
        tried_at = self.place.tried_at
        if tried_at is None:
            return _("will be asked")
        return _("asked %(age)s ago, no answer yet") % {"age": timesince(tried_at, depth=1)}

    @property
    def seen_exactly(self) -> str:
        """The exact time when its packages were seen, and the Python that listed them."""
        if self.place.seen_at is None:
            return ""
        moment = timezone.localtime(self.place.seen_at)
        return f"{moment:%Y-%m-%d %H:%M %Z} {self.place.implementation} {self.place.python}"

    @property
    def repair_url(self) -> str:
        """The page that shows and confirms its repair."""
        return run_url(self.repair, [self.place.environment], [self.place.server])


@dataclass(frozen=True)
class Kinds:
    """Servers of an environment by what they have and should have.

    Most have the same packages: what is said of one is said of all of its kind, and made once.
    """

    first: tuple[Column, ...]
    """One of each kind."""

    of_columns: tuple[int, ...]
    """The kind of each column, as an index of `first`."""

    matters: list[Matter]
    """What is wrong with those of each kind's packages that are shown."""

    @classmethod
    def of(cls, columns: Sequence[Column]) -> "Kinds":
        known: dict[tuple[int, frozenset[tuple[str, str]]], int] = {}
        first: list[Column] = []
        of_columns: list[int] = []
        for column in columns:
            alike = (id(column.expected), frozenset(column.installed.items()))
            if (kind := known.get(alike)) is None:
                kind = known[alike] = len(first)
                first.append(column)
            of_columns.append(kind)
        return cls(tuple(first), tuple(of_columns), [Matter.NOTHING] * len(first))


@dataclass(frozen=True)
class Group:
    """An environment and those of its servers that are shown."""

    environment: Environment
    columns: tuple[Column, ...]
    may_deploy: bool
    may_upgrade: bool

    @cached_property
    def kinds(self) -> "Kinds":
        """Its servers by what they have installed."""
        return Kinds.of(self.columns)

    @property
    def heads(self) -> SafeString:
        """The heads of its columns."""
        maker = HeadMaker(may_deploy=self.may_deploy)
        heads = "".join([maker.make(column) for column in self.columns])
        return mark_safe(heads)  # noqa: S308  each of them is safe already

    @property
    def rank(self) -> int:
        """The rank of its worst server."""
        return min((column.matter.rank for column in self.columns), default=Matter.NOTHING.rank)

    def worst_first(self) -> tuple[int, ...]:
        """Return the indexes of its servers, the worst first."""
        places = range(len(self.columns))
        return tuple(sorted(places, key=lambda place: self.columns[place].matter.rank))

    def in_order(self, places: Iterable[int]) -> "Group":
        """Return it with its servers in another order."""
        return replace(self, columns=tuple(self.columns[place] for place in places))

    @property
    def width(self) -> int:
        """The number of columns, including those of the pinned and of the latest version."""
        return len(self.columns) + 2


def make_groups(
    facts: PackageFacts,
    asked: Asked,
    deployable: Collection[Environment],
    upgradable: Collection[Environment],
) -> tuple[Group, ...]:
    """Return the environments and servers that are selected."""
    columns = _ColumnMaker(facts, upgradable)
    groups = []
    for environment in asked.environments:
        places = [place for place in facts.places if place.environment == environment.pk]
        served = [(place.release, place.activated_at) for place in places]
        release = usual_release(served)
        usual = release, sum(1 for each, _since in served if each and each == release)
        made = [columns.make(place, environment, usual) for place in places]
        shown = tuple(column for column in made if asked.has_versions(column.installed))
        if shown or not asked.package:
            own = (environment in deployable, environment in upgradable)
            groups.append(Group(environment, shown, *own))
    return tuple(groups)


class _ColumnMaker:
    """Makes columns; servers with the same Python and platform share their expectations."""

    def __init__(self, facts: PackageFacts, upgradable: Collection[Environment]) -> None:
        self._facts = facts
        self._upgradable = upgradable
        self._expectations: dict[tuple[object, ...], Expected] = {}

    def make(self, place: Place, environment: Environment, usual: _Usual) -> Column:
        """Return a server's column."""
        # Evaluating markers is slow: once for each kind of Python, not for each server.
        python = (place.implementation, place.python, place.platform)
        alike = (environment.pk, place.is_known, *python)
        if alike not in self._expectations:
            may_upgrade = environment in self._upgradable
            self._expectations[alike] = make_expected(place, environment, self._facts, may_upgrade)
        installed = self._facts.installed.get(place.pk, {})
        return Column(
            place, self._expectations[alike], installed, _repair(place, environment, usual)
        )


def _repair(place: Place, environment: Environment, usual: _Usual) -> str:
    """Return the pipeline that repairs a server.

    Pins that were edited in the admin are installed nowhere yet, so that no server is a model.
    """
    release, count = usual
    if count and place.release != release:
        return CONVERGE
    is_deployed = environment.pins_from == Environment.PinsFrom.COMMIT
    return CONVERGE if is_deployed and count > 1 else DEPLOY


@dataclass(frozen=True)
class Part:
    """One package in one environment."""

    head: SafeString
    """The cells of the pinned and of the latest version."""

    cells: tuple[Cell, ...]
    """One for each kind of its servers."""


@dataclass(frozen=True)
class Row:
    """One package on all servers."""

    name: str
    parts: tuple[Part, ...]
    matter: Matter
    """All that is wrong on any server."""


class RowMaker:
    """Makes rows from facts."""

    def __init__(self, groups: Sequence[Group], facts: PackageFacts) -> None:
        self._groups = groups
        self._facts = facts
        self._now = timezone.now()

    def make(self, name: str) -> Row:
        """Return the row of a package, and add what is wrong with it to the kinds of servers."""
        parts = []
        matters = {Matter.NOTHING}
        latest = {
            index: _latest_cell(self._facts.latest.get((index, name), UNHEARD), self._now)
            for index in {group.environment.index_url for group in self._groups}
        }
        for group in self._groups:
            cells = self._cells(group.kinds, name)
            head = self._pinned(group, name) + latest[group.environment.index_url]
            parts.append(Part(head, cells))
            matters.update(cell.matter for cell in cells)
            for kind, cell in enumerate(cells):
                if cell.is_wrong:
                    group.kinds.matters[kind] |= cell.matter
        return Row(name, tuple(parts), reduce(or_, matters))

    def _cells(self, kinds: Kinds, name: str) -> tuple[Cell, ...]:
        """Return the cell of each kind of server; those that say the same are made once."""
        made = {
            column.expected: CellsOfPackage(name, column.expected, self._facts)
            for column in kinds.first
        }
        return tuple(made[each.expected][each.installed.get(name)] for each in kinds.first)

    def note_matters(self) -> None:
        """Note on each column what is wrong on it, once all rows are made."""
        for group in self._groups:
            for column, kind in zip(group.columns, group.kinds.of_columns, strict=True):
                column.matter = group.kinds.matters[kind]

    def _pinned(self, group: Group, name: str) -> SafeString:
        pins = self._facts.pinned.get(group.environment.pk, {}).get(name, ())
        title = "; ".join(pin.marker for pin in pins if pin.marker)
        versions = " / ".join(dict.fromkeys(pin.version for pin in pins)) or NONE
        return format_html('<td class="dm-pin" title="{}">{}</td>', title, versions)


def _latest_cell(latest: Latest, now: datetime) -> SafeString:
    if not latest.version:
        why = latest.problem or _("The package index has not been asked yet.")
        return format_html(
            '<td class="dm-latest dm-quiet" title="{}">? <small>{}</small></td>', why, _("unknown")
        )
    notes = [] if latest.status in FINE_STATUSES else [latest.status]
    title = [str(latest.problem)] if latest.problem else []
    if latest.uploaded_at:
        notes.append(_("%(age)s old") % {"age": timesince(latest.uploaded_at, now, depth=1)})
        title.append(date_format(timezone.localtime(latest.uploaded_at), "DATETIME_FORMAT"))
    return format_html(
        '<td class="dm-latest" title="{}">{} <small>{}</small></td>',
        " ".join(title),
        latest.version,
        ", ".join(notes),
    )


@dataclass(frozen=True)
class PackageTable:
    groups: tuple[Group, ...]
    """In the order in which they are shown."""

    rows: tuple[Row, ...]
    """Their parts and cells are not in the order of the groups, but in that of `orders`."""

    left_out: int
    """The number of packages that the filter by state left out."""

    orders: tuple[_Order, ...]

    def cells_of(self, row: Row) -> SafeString:
        """Return the cells of a row, in the order of the columns."""
        html: list[str] = []
        for place, servers in self.orders:
            part = row.parts[place]
            html.append(part.head)
            texts = [cell.html for cell in part.cells]
            html.extend([texts[server] for server in servers])
        # Not format_html_join, which would escape up to 40,000 cells once more.
        return mark_safe("".join(html))  # noqa: S308  each of them is safe already


def make_table(
    facts: PackageFacts,
    asked: Asked,
    deployable: Collection[Environment],
    upgradable: Collection[Environment],
) -> PackageTable:
    """Return the servers and packages that a filter selects."""
    groups = make_groups(facts, asked, deployable, upgradable)
    columns = [column for group in groups for column in group.columns]
    installed = {name for column in columns for name in column.installed}
    pinned = {name for group in groups for name in facts.pinned.get(group.environment.pk, ())}
    # All rows are made, even those that are left out: they say which servers are worst.
    maker = RowMaker(groups, facts)
    rows = [maker.make(name) for name in sorted(installed | pinned) if asked.has_package(name)]
    maker.note_matters()
    shown = [row for row in rows if not asked.matter or row.matter & asked.matter]
    columns_in_order = [
        (place, tuple(range(len(group.columns)))) for place, group in enumerate(groups)
    ]
    if asked.only != ALL:
        shown.sort(key=lambda row: row.matter.rank)
        worst_first = sorted(range(len(groups)), key=lambda place: groups[place].rank)
        columns_in_order = [(place, groups[place].worst_first()) for place in worst_first]
    orders = [
        (place, tuple(groups[place].kinds.of_columns[server] for server in servers))
        for place, servers in columns_in_order
    ]
    return PackageTable(
        groups=tuple(groups[place].in_order(servers) for place, servers in columns_in_order),
        rows=tuple(shown),
        left_out=len(rows) - len(shown),
        orders=tuple(orders),
    )
