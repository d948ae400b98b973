"""Who of those that the user may see is exposed to what, and what nobody could check."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.admin.permissions import visible_environments
from deploy_manager.models import (
    AuditedVersion,
    Environment,
    InstalledPackage,
    Requirement,
)

if TYPE_CHECKING:
    from deploy_manager.packages.exposure import Exposure

MOST_NAMES = 8
"""That a sentence tells; the others are counted."""


@dataclass
class Count:
    """How many are exposed to one advisory."""

    environments: set[int] = field(default_factory=set)
    servers: set[int] = field(default_factory=set)


NOBODY = Count()


def visible_ids(request: HttpRequest) -> frozenset[int]:
    """The environments that the user may see; asked for once in a request."""
    known: frozenset[int] | None = getattr(request, "_environments_seen", None)
    if known is None:
        found = visible_environments(request, Environment.objects.order_by())
        known = frozenset(found.values_list("pk", flat=True))
        request._environments_seen = known  # type: ignore[attr-defined]
    return known


def leave_visible(request: HttpRequest, found: "Iterable[Exposure]") -> "list[Exposure]":
    """Leave out environments that the user may not see."""
    visible = visible_ids(request)
    return [exposure for exposure in found if exposure.environment.pk in visible]


def count_exposed(request: HttpRequest) -> dict[int, Count]:
    """Return how many are exposed, by the id of each advisory that somebody is exposed to.

    Asked for once in a request, in the same number of queries for all.
    """
    from deploy_manager.packages.exposure import vulnerable_packages

    known: dict[int, Count] | None = getattr(request, "_exposed_to", None)
    if known is None:
        known = _count(leave_visible(request, vulnerable_packages()))
        request._exposed_to = known  # type: ignore[attr-defined]
    return known


def _count(found: "Iterable[Exposure]") -> dict[int, Count]:
    counts: dict[int, Count] = defaultdict(Count)
    for exposure in found:
        for advisory in exposure.advisories:
            counts[advisory.pk].environments.add(exposure.environment.pk)
            counts[advisory.pk].servers.update(each.server_id for each in exposure.placements)
    return dict(counts)


def tell_unknown(request: HttpRequest) -> list[str]:
    """Sentences on what is not known: it must not be taken for safe."""
    visible = visible_ids(request)
    by_reason: dict[str, set[str]] = defaultdict(set)
    for name, version, problem in _unknown_versions(visible):
        by_reason[problem].add(f"{name}=={version}")
    told = [_tell(reason, sorted(versions)) for reason, versions in sorted(by_reason.items())]
    return [*told, *_tell_unseen(visible)]


def _unknown_versions(visible: frozenset[int]) -> Iterator[tuple[str, str, str]]:
    """Names and versions that are in use and were not checked, or not wholly, and why."""
    same = AuditedVersion.objects.filter(name=OuterRef("name"), version=OuterRef("version"))
    checked = Exists(same.checked())
    used = (
        InstalledPackage.objects.filter(~checked, placement__environment__in=visible),
        Requirement.objects.filter(~checked, environment__in=visible),
    )
    pairs = {
        pair for rows in used for pair in rows.order_by().values_list("name", "version").distinct()
    }
    rows = AuditedVersion.objects.exclude(problem="").values_list("name", "version", "problem")
    problems = {(name, version): problem for name, version, problem in rows}
    for name, version in pairs:
        yield name, version, problems.get((name, version), "")


def _tell(reason: str, versions: list[str]) -> str:
    text = ngettext(
        "%(count)d version could not be checked: %(versions)s. %(reason)s",
        "%(count)d versions could not be checked: %(versions)s. %(reason)s",
        len(versions),
    )
    names = ", ".join(versions[:MOST_NAMES]) + (" …" if len(versions) > MOST_NAMES else "")
    reason = reason or _("Nobody has looked yet.")
    return text % {"count": len(versions), "versions": names, "reason": reason}


def _tell_unseen(visible: frozenset[int]) -> Iterator[str]:
    """Servers whose packages are not known may be exposed to anything."""
    from deploy_manager.packages.exposure import unseen

    found = unseen(visible).order_by("server__name").values_list("server__name", flat=True)
    names = list(dict.fromkeys(found))
    if names:
        text = ngettext(
            "What %(count)d server has installed is not known: %(names)s.",
            "What %(count)d servers have installed is not known: %(names)s.",
            len(names),
        )
        shown = ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")
        yield text % {"count": len(names), "names": shown}
