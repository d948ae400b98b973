"""The matrix of servers and packages, made of what the rows know."""

from collections.abc import Collection
from dataclasses import dataclass

from django.utils.safestring import SafeString, mark_safe

from deploy_manager.admin.packages.columns import Group, make_groups
from deploy_manager.admin.packages.facts import PackageFacts
from deploy_manager.admin.packages.filter import ALL, Asked
from deploy_manager.admin.packages.rows import Part, Row, RowMaker
from deploy_manager.models import Environment

_Order = tuple[int, tuple[int, ...]]
"""The place of an environment among the parts of a row, and those of its servers' cells in it."""


@dataclass(frozen=True)
class PackageTable:
    groups: tuple[Group, ...]
    """As they are shown."""

    rows: tuple[Row, ...]
    """Their parts and cells are not yet in the order of the groups."""

    left_out: int
    """How many packages the filter by what is the matter left out."""

    orders: tuple[_Order, ...]

    def cells_of(self, row: Row) -> SafeString:
        """The cells behind a package's name, in the order of the columns."""
        parts = "".join(_join(row.parts[place], cells) for place, cells in self.orders)
        return mark_safe(parts)  # noqa: S308  each of them is safe already


def _join(part: Part, order: tuple[int, ...]) -> str:
    cells = part.cells
    return part.head + "".join([cells[place].html for place in order])


def make_table(
    facts: PackageFacts, asked: Asked, deployable: Collection[Environment]
) -> PackageTable:
    """Return the servers and packages that a filter asks for."""
    groups = make_groups(facts, asked, deployable)
    columns = [column for group in groups for column in group.columns]
    installed = {name for column in columns for name in column.installed}
    pinned = {name for group in groups for name in facts.pinned.get(group.environment.pk, ())}
    maker = RowMaker(groups, facts)
    rows = [maker.make(name) for name in sorted(installed | pinned) if asked.has_package(name)]
    shown = [row for row in rows if not asked.matter or row.matter & asked.matter]
    orders = [(place, tuple(range(len(group.columns)))) for place, group in enumerate(groups)]
    if asked.only != ALL:
        shown.sort(key=lambda row: row.matter.rank)
        orders = _worst_first(groups)
    return PackageTable(
        groups=tuple(groups[place].in_order(servers) for place, servers in orders),
        rows=tuple(shown),
        left_out=len(rows) - len(shown),
        orders=tuple(orders),
    )


def _worst_first(groups: tuple[Group, ...]) -> list[_Order]:
    """Servers, and environments, where something is wrong before the others."""
    places = sorted(range(len(groups)), key=lambda place: groups[place].rank)
    return [(place, groups[place].worst_first()) for place in places]
