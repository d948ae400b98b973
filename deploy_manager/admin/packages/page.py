"""The context of the matrix page: filter, summary, and pages of whole rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.admin.addresses import start_upgrade_url
from deploy_manager.admin.badges import few
from deploy_manager.admin.packages.cells import Matter, is_ordered, legend
from deploy_manager.admin.packages.facts import PackageFacts, read_facts
from deploy_manager.admin.packages.filter import ALL, Asked, PackageFilter
from deploy_manager.admin.packages.table import PackageTable, make_table
from deploy_manager.models import Environment
from deploy_manager.models.rights import Right, may

MOST_NAMES = 3
"""Servers in the notes, which count the others."""

MOST_CELLS, MOST_CELLS_OF_ALL = 10_000, 40_000
"""Cells of one page; a browser takes a second for so many, so that more are split into pages.

A page of all packages by name may be larger, as it is there to be searched in the browser.
"""

FEWEST_ROWS = 25


@dataclass(frozen=True)
class Summary:
    found: str
    notes: tuple[str, ...]
    """What is not known, and must not be mistaken for safe."""

    upgrade_url: str
    """The page that upgrades the package that was searched for; blank if there is none."""


def summarise(table: PackageTable, facts: PackageFacts, asked: Asked) -> Summary:
    """Return the summary of a table."""
    environments = [
        group.environment.pk for group in table.groups if group.may_upgrade and group.columns
    ]
    has_upgrade = asked.package and environments
    return Summary(
        found=_count_found(table, facts, asked),
        notes=tuple(_note_unknown(table, facts, asked)),
        upgrade_url=start_upgrade_url(environments, [asked.package], reach="latest")
        if has_upgrade
        else "",
    )


def _count_found(table: PackageTable, facts: PackageFacts, asked: Asked) -> str:
    servers = len({column.place.server for group in table.groups for column in group.columns})
    if asked.runs is not None:
        return _("%(found)d of %(all)d servers run %(what)s.") % {
            "found": servers,
            "all": len({place.server for place in facts.places}),
            "what": asked.runs,
        }
    packages = ngettext("%(count)d package", "%(count)d packages", len(table.rows))
    on = ngettext("on %(count)d server.", "on %(count)d servers.", servers)
    return f"{packages % {'count': len(table.rows)}} {on % {'count': servers}}"


def _note_unknown(table: PackageTable, facts: PackageFacts, asked: Asked) -> Iterator[str]:
    """Yield what is not known: servers, versions that can't be compared, audits."""
    unseen = [place for place in facts.places if not place.is_known]
    for place in unseen[:MOST_NAMES]:
        why = place.problem or _("It has never been asked.")
        yield _("The packages of %(server)s: %(why)s") % {"server": place.server, "why": why}
    if more := len(unseen[MOST_NAMES:]):
        text = ngettext(
            "The packages of %(count)d more server.",
            "The packages of %(count)d more servers.",
            more,
        )
        yield text % {"count": more}
    if asked.runs is not None and asked.runs.specifier:
        # Like 2004d of old packages, which PEP 440 does not order.
        servers = [
            place.server
            for place in facts.places
            if (version := facts.installed.get(place.pk, {}).get(asked.package))
            and not is_ordered(version)
        ]
        if servers:
            yield _("How the versions on %(names)s compare: they are not valid by PEP 440.") % {
                "names": few(servers, MOST_NAMES)
            }
    unaudited = sum(Matter.UNAUDITED in row.matter for row in table.rows)
    if unaudited:
        text = ngettext(
            "Whether every version of %(count)d package is vulnerable.",
            "Whether every version of %(count)d packages is vulnerable.",
            unaudited,
        )
        yield text % {"count": unaudited}


def make_context(request: HttpRequest, environments: Sequence[Environment]) -> dict[str, Any]:
    """Return the template's context for these environments."""
    form = PackageFilter(request.GET, environments)
    asked = form.read()
    own = {
        right: {each for each in environments if may(request.user, right, each)}
        for right in (Right.DEPLOY, Right.UPGRADE)
    }
    facts = read_facts(asked.environments)
    table = make_table(facts, asked, own[Right.DEPLOY], own[Right.UPGRADE])
    width = sum(group.width for group in table.groups)
    most = MOST_CELLS_OF_ALL if asked.only == ALL else MOST_CELLS
    rows = max(FEWEST_ROWS, most // max(width, 1))
    page = Paginator(table.rows, rows).get_page(request.GET.get("p") or 1)
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
