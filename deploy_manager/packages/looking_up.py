"""Look up on their indexes the packages that are installed or pinned, and keep it on rows."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.credentials import index_at
from deploy_manager.isolation import explain
from deploy_manager.messages import Message
from deploy_manager.models import IndexedPackage, InstalledPackage, Requirement
from deploy_manager.requirements.index_facts import IndexProblem, look_up_many

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=15)
"""How long to wait after an index gave no answer."""

LONGEST_VERSION, LONGEST_STATUS = 100, 50
"""Characters that the columns hold."""

NEWEST, LONGEST_SPECIFIER = 50, 100
"""Versions whose needed Pythons are kept, and characters of each."""

NOT_YET = Message(_("It was not looked up yet."))

_Package = tuple[str, str]
"""An index, and the name of a package on it."""


def is_look_up_due() -> bool:
    """Whether there is a package that was not looked up within LOOK_UP_EVERY."""
    return bool(_wanted())


def look_up_due(limit: int = 500) -> int:
    """Look up as many due packages; return how many an index knew.

    Two calls at the same time share them. If an index does not answer, the old facts stay with the
    problem beside them, and it is asked again after RETRY_AFTER.
    """
    claimed: dict[str, dict[str, IndexedPackage]] = defaultdict(dict)
    for row in _claim(_wanted(), limit):
        claimed[row.index_url][row.name] = row
    return sum(_look_up(index_url, rows) for index_url, rows in claimed.items())


def look_up_again(index_url: str, names: Iterable[str]) -> None:
    """Make packages due at once, as their index may have changed."""
    known = IndexedPackage.objects.filter(index_url=index_url, name__in=list(names))
    known.update(looked_at=None)


def _wanted() -> set[_Package]:
    """Return the packages that are installed or pinned and were not looked up lately."""
    installed = InstalledPackage.objects.order_by().values_list(
        "placement__environment__index_url", "name"
    )
    pinned = Requirement.objects.order_by().values_list("environment__index_url", "name")
    # Subtracted here: a package without a row yet is due, too.
    fresh = IndexedPackage.objects.exclude(_is_due()).values_list("index_url", "name")
    return {*installed.distinct(), *pinned.distinct()} - set(fresh)


def _is_due() -> Q:
    since = Now() - timedelta(seconds=get_settings().LOOK_UP_EVERY)
    is_due = Q(looked_at=None) | Q(looked_at__lt=since)
    return is_due | (~Q(problem="") & Q(looked_at__lt=Now() - RETRY_AFTER))


def _claim(wanted: set[_Package], limit: int) -> list[IndexedPackage]:
    # Another process may claim at the same time: both write the rows that are missing, and each
    # row goes to the one whose conditional UPDATE finds it still due.
    IndexedPackage.objects.bulk_create(
        (IndexedPackage(index_url=url, name=name, problem=NOT_YET) for url, name in sorted(wanted)),
        ignore_conflicts=True,
        batch_size=500,
    )
    # In one order everywhere, as the insert above: else two processes could wait for each other.
    due = IndexedPackage.objects.filter(_is_due()).order_by("pk")
    with transaction.atomic():
        rows = [row for row in due if (row.index_url, row.name) in wanted][:limit]
        return [row for row in rows if due.filter(pk=row.pk).update(looked_at=Now())]


def _look_up(index_url: str, rows: dict[str, IndexedPackage]) -> int:
    try:
        found = look_up_many(rows, index_at(index_url))
    except Exception as error:
        # The border of an index: whatever happens with one, the others are asked.
        logger.exception("%s could not be asked", index_url or "the index")
        found = dict.fromkeys(rows, IndexProblem(explain(error)))
    for name, row in rows.items():
        facts = found[name]
        if isinstance(facts, IndexProblem):
            row.problem = facts.reason
            continue
        newest = facts.latest()
        row.latest = newest.version[:LONGEST_VERSION] if newest else ""
        row.latest_uploaded_at = newest.uploaded_at if newest else None
        row.requires_python = {
            one.version: one.requires_python
            for one in facts.versions[-NEWEST:]
            if 0 < len(one.requires_python) <= LONGEST_SPECIFIER
        }
        row.status = facts.status[:LONGEST_STATUS]
        row.problem = Message()
    changed = ["latest", "latest_uploaded_at", "requires_python", "status", "problem"]
    IndexedPackage.objects.bulk_update(rows.values(), changed, batch_size=200)
    return sum(1 for row in rows.values() if not row.problem)
