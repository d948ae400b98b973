"""What the page of the matrix shows: what the filter asks for, cut into pages of whole rows."""

from collections.abc import Sequence
from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.urls import reverse

from deploy_manager.admin.packages.cells import legend
from deploy_manager.admin.packages.facts import read_facts
from deploy_manager.admin.packages.filter import ALL, Asked, PackageFilter
from deploy_manager.admin.packages.rows import Row
from deploy_manager.admin.packages.summary import summarise
from deploy_manager.admin.packages.table import PackageTable, make_table
from deploy_manager.models import Environment
from deploy_manager.models.rights import may_deploy

MOST_CELLS, MOST_CELLS_OF_ALL = 10_000, 40_000
"""Of one page: more are cut into pages of whole rows, as a browser takes a second for so many.

Who asks for all by name may want to search the page, and waits.
"""

FEWEST_ROWS = 25


def make_context(request: HttpRequest, environments: Sequence[Environment]) -> dict[str, Any]:
    """Return what the template needs, of these environments."""
    form = PackageFilter(request.GET, environments)
    asked = form.read()
    deployable = {each for each in environments if may_deploy(request.user, each)}
    facts = read_facts(asked.environments)
    table = make_table(facts, asked, deployable)
    page = _page(table, asked, request.GET.get("p", ""))
    return {
        "form": form,
        "asked": asked,
        "table": table,
        "summary": summarise(table, facts, asked),
        "legend": legend(),
        "look_again_url": reverse("admin:deploy_manager_installedpackage_look_again"),
        "page": page,
        "lines": [(row.name, table.cells_of(row)) for row in page],
    }


def _page(table: PackageTable, asked: Asked, number: str) -> Page[Row]:
    width = sum(group.width for group in table.groups)
    most = MOST_CELLS_OF_ALL if asked.only == ALL else MOST_CELLS
    rows = max(FEWEST_ROWS, most // max(width, 1))
    return Paginator(table.rows, rows).get_page(number or 1)
