"""What indexes have of the packages that are installed or pinned, kept on rows of their own."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_noop

from deploy_manager.conf import get_settings
from deploy_manager.isolation import explain
from deploy_manager.logs import mask_text
from deploy_manager.models import IndexedPackage, InstalledPackage, Requirement
from deploy_manager.requirements.index_facts import IndexProblem, PackageFacts, look_up_many

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=15)
"""How long nobody asks again after an index gave no answer."""

LONGEST_VERSION, LONGEST_STATUS = 100, 50
"""Characters; what the columns hold."""

NOT_YET = gettext_noop("Nobody looked it up yet.")

_Package = tuple[str, str]
"""An index, and the name of a package on it."""


def is_look_up_due() -> bool:
    """Whether there is a package that nobody looked up for a while (LOOK_UP_EVERY)."""
    return bool(_wanted())


def look_up_due(limit: int = 500) -> int:
    """Look up so many packages that are due; return how many an index knew.

    Two that look at once share them. Where an index gives no facts the old ones stay, with the
    problem beside them; it is asked again after RETRY_AFTER.
    """
    claimed: dict[str, dict[str, IndexedPackage]] = defaultdict(dict)
    for row in _claim(_wanted(), limit):
        claimed[row.index_url][row.name] = row
    return sum(_look_up(index_url, rows) for index_url, rows in claimed.items())


def look_up_again(index_url: str, names: Iterable[str]) -> None:
    """Have packages looked up anew, as soon as anybody looks: their index has changed."""
    known = IndexedPackage.objects.filter(index_url=index_url, name__in=list(names))
    known.update(looked_at=None)


def _wanted() -> set[_Package]:
    """Return what is installed and what is pinned, without what was looked up lately."""
    installed = InstalledPackage.objects.order_by().values_list(
        "placement__environment__index_url", "name"
    )
    pinned = Requirement.objects.order_by().values_list("environment__index_url", "name")
    fresh = IndexedPackage.objects.exclude(_is_due()).values_list("index_url", "name")
    return {*installed.distinct(), *pinned.distinct()} - set(fresh)


def _is_due() -> Q:
    since = Now() - timedelta(seconds=get_settings().LOOK_UP_EVERY)
    is_due = Q(looked_at=None) | Q(looked_at__lt=since)
    return is_due | (~Q(problem="") & Q(looked_at__lt=Now() - RETRY_AFTER))


def _claim(wanted: set[_Package], limit: int) -> list[IndexedPackage]:
    """Take rows that nobody else took meanwhile."""
    IndexedPackage.objects.bulk_create(
        (IndexedPackage(index_url=url, name=name, problem=NOT_YET) for url, name in sorted(wanted)),
        ignore_conflicts=True,
        batch_size=500,
    )
    due = IndexedPackage.objects.filter(_is_due()).order_by("pk")
    with transaction.atomic():
        rows = [row for row in due if (row.index_url, row.name) in wanted][:limit]
        return [row for row in rows if due.filter(pk=row.pk).update(looked_at=Now())]


def _look_up(index_url: str, rows: dict[str, IndexedPackage]) -> int:
    try:
        found = look_up_many(rows, index_url)
    except Exception as error:
        # The border of an index: whatever happens with one, the others are asked.
        logger.exception("%s could not be asked", index_url or "the index")
        found = dict.fromkeys(rows, IndexProblem(explain(error)))
    for name, row in rows.items():
        _note(row, found[name])
    changed = ["latest", "latest_uploaded_at", "status", "problem"]
    IndexedPackage.objects.bulk_update(rows.values(), changed, batch_size=200)
    return sum(1 for row in rows.values() if not row.problem)


def _note(row: IndexedPackage, found: PackageFacts | IndexProblem) -> None:
    if isinstance(found, IndexProblem):
        row.problem = mask_text(found.reason)
        return
    newest = found.latest()
    row.latest = newest.version[:LONGEST_VERSION] if newest else ""
    row.latest_uploaded_at = newest.uploaded_at if newest else None
    row.status = found.status[:LONGEST_STATUS]
    row.problem = ""
