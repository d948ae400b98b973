"""The matrix of servers and packages, made of what the rows know."""

from collections.abc import Collection
from dataclasses import dataclass

from deploy_manager.admin.package_cells import Matter
from deploy_manager.admin.package_columns import Group, make_groups
from deploy_manager.admin.package_facts import PackageFacts
from deploy_manager.admin.package_filter import ALL, Asked
from deploy_manager.admin.package_rows import Row, RowMaker
from deploy_manager.models import Environment


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
    groups = make_groups(facts, asked, deployable)
    columns = [column for group in groups for column in group.columns]
    installed = {name for column in columns for name in column.installed}
    pinned = {name for group in groups for name in facts.pinned.get(group.environment.pk, ())}
    maker = RowMaker(groups, facts)
    rows = [maker.make(name) for name in sorted(installed | pinned) if asked.has_package(name)]
    shown = [row for row in rows if not asked.matter or row.matter & asked.matter]
    if asked.only != ALL:
        shown.sort(key=lambda row: _rank(row.matter))
    return PackageTable(groups, tuple(shown), len(rows) - len(shown))


def _rank(matter: Matter) -> int:
    """The place of a row: vulnerable, not as pinned, unknown, behind, and then the rest."""
    lowest_bit = matter.value & -matter.value
    return lowest_bit or Matter.UNAUDITED.value * 2
