"""What the matrix comes to, in a few sentences above it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.admin.packages.cells import Matter
from deploy_manager.admin.packages.expected import is_ordered
from deploy_manager.admin.packages.facts import PackageFacts
from deploy_manager.admin.packages.filter import Asked
from deploy_manager.admin.packages.table import PackageTable
from deploy_manager.admin.upgrades.link import upgrade_link

MOST_NAMES = 3


@dataclass(frozen=True)
class Summary:
    found: str
    notes: tuple[str, ...]
    """What is not known, and must not be taken for good."""

    upgrade_url: str
    """Where the upgrade of what was found to be run begins; blank where there is none."""


def summarise(table: PackageTable, facts: PackageFacts, asked: Asked) -> Summary:
    """Return what a table comes to."""
    return Summary(
        found=_say_found(table, facts, asked),
        notes=(*_tell_unseen(facts), *_tell_unordered(facts, asked), *_tell_unaudited(table)),
        upgrade_url=_upgrade_url(table, asked),
    )


def _say_found(table: PackageTable, facts: PackageFacts, asked: Asked) -> str:
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


def _tell_unseen(facts: PackageFacts) -> Iterator[str]:
    unseen = [place for place in facts.places if not place.is_known]
    for place in unseen[:MOST_NAMES]:
        why = place.problem or _("It was never asked.")
        yield _("What %(server)s has installed: %(why)s") % {"server": place.server, "why": why}
    if more := len(unseen[MOST_NAMES:]):
        text = ngettext(
            "What %(count)d more server has installed.",
            "What %(count)d more servers have installed.",
            more,
        )
        yield text % {"count": more}


def _tell_unordered(facts: PackageFacts, asked: Asked) -> Iterator[str]:
    """Servers whose version is none by today's rules, so that it can't be told who runs less."""
    if asked.runs is None or not asked.runs.specifier:
        return
    servers = [
        place.server
        for place in facts.places
        if (version := facts.installed.get(place.pk, {}).get(asked.package))
        and not is_ordered(version)
    ]
    if servers:
        yield _("How the versions on %(names)s compare: they are none by today's rules.") % {
            "names": _few(servers)
        }


def _tell_unaudited(table: PackageTable) -> Iterator[str]:
    unaudited = sum(Matter.UNAUDITED in row.matter for row in table.rows)
    if unaudited:
        text = ngettext(
            "Whether every version of %(count)d package is vulnerable or not.",
            "Whether every version of %(count)d packages is vulnerable or not.",
            unaudited,
        )
        yield text % {"count": unaudited}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")


def _upgrade_url(table: PackageTable, asked: Asked) -> str:
    environments = [
        group.environment.pk for group in table.groups if group.may_deploy and group.columns
    ]
    if not asked.package or not environments:
        return ""
    return upgrade_link(asked.package, environments, reach="latest")
