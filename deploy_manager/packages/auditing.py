"""Check the versions that are installed or pinned for advisories, and keep them on rows.

A version that could not be checked stays *unknown*, with the reason beside it: no answer does not
make it safe, and a failed check does not remove an advisory that is known.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from deploy_manager.advisories.advice import Advice, KnownAdvisory
from deploy_manager.advisories.asking import advise
from deploy_manager.advisories.sources import sources_of
from deploy_manager.conf import get_settings
from deploy_manager.isolation import explain
from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    InstalledPackage,
    LockFile,
    Requirement,
)
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.pins import pins_in

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(minutes=15)
"""How long to wait after a check gave no answer."""

_Version = tuple[str, str]
"""A package's name and one version of it."""


def is_audit_due() -> bool:
    """Whether there is an installed or pinned version that was not checked within LOOK_UP_EVERY."""
    fresh = AuditedVersion.objects.filter(name=OuterRef("name"), version=OuterRef("version"))
    fresh = fresh.exclude(_is_due())
    return any(rows.exclude(Exists(fresh)).exists() for rows in _used(None))


def audit(
    limit: int | None = None,
    environments: Sequence[Environment] | None = None,
    *,
    is_forced: bool = False,
) -> int:
    """Check the versions installed, pinned or in locks that serve; return how many were checked.

    Those checked within LOOK_UP_EVERY are left out unless `is_forced`; without `environments`, all
    are meant. Two calls at the same time share the versions.
    """
    # In one order everywhere: else two processes that insert the same rows could block each other.
    wanted = sorted(_wanted(environments))
    claimed = {(row.name, row.version): row for row in _claim(wanted, limit, is_forced)}
    if claimed:
        _write(claimed, _advise(claimed))
    return len(claimed)


def _advise(versions: Collection[_Version]) -> dict[_Version, Advice]:
    conf = get_settings()
    try:
        return advise(versions, sources_of(conf.ADVISORIES), conf.ADVISORY_TIMEOUT)
    except Exception as error:
        # The border of the sources: what could not be checked says why, and stays unknown.
        logger.exception("Advisories could not be looked for")
        return dict.fromkeys(versions, Advice(problem=explain(error)))


def _is_due() -> Q:
    """Not checked within LOOK_UP_EVERY, and not tried within RETRY_AFTER either."""
    since = Now() - timedelta(seconds=get_settings().LOOK_UP_EVERY)
    is_old = Q(checked_at=None) | Q(checked_at__lt=since)
    return is_old & (Q(tried_at=None) | Q(tried_at__lt=Now() - RETRY_AFTER))


def _used(
    environments: Sequence[Environment] | None,
) -> list["QuerySet[InstalledPackage] | QuerySet[Requirement]"]:
    installed = InstalledPackage.objects.all()
    pinned = Requirement.objects.exclude(url__startswith="git+")
    if environments is not None:
        installed = installed.filter(placement__environment__in=environments)
        pinned = pinned.filter(environment__in=environments)
    # Without the default order, whose columns DISTINCT would count as well.
    return [installed.order_by(), pinned.order_by()]


def _wanted(environments: Sequence[Environment] | None) -> set[_Version]:
    """Return the versions that are installed, pinned or in a lock that serves."""
    found: set[_Version] = set()
    for rows in _used(environments):
        found.update(rows.values_list("name", "version").distinct())
    locks = LockFile.objects.filter(releases__active_on__isnull=False)
    if environments is not None:
        locks = locks.filter(releases__active_on__environment__in=environments)
    for text in locks.values_list("text", flat=True).distinct():
        # What version a commit has, servers say: see recipes/remote/inventory.py.
        found.update((pin.name, pin.version) for pin in pins_in(text) if not pin.is_commit)
    return found


def _claim(wanted: Sequence[_Version], limit: int | None, is_forced: bool) -> list[AuditedVersion]:
    # As in `looking_up`: each row goes to the process whose conditional UPDATE finds it still due.
    AuditedVersion.objects.bulk_create(
        (AuditedVersion(name=name, version=version) for name, version in wanted),
        ignore_conflicts=True,
        batch_size=500,
    )
    rows = AuditedVersion.objects.all() if is_forced else AuditedVersion.objects.filter(_is_due())
    among = set(wanted)
    with transaction.atomic():
        ordered = rows.order_by("pk").prefetch_related("advisories")
        due = [row for row in ordered if (row.name, row.version) in among][:limit]
        return [row for row in due if rows.filter(pk=row.pk).update(tried_at=Now())]


def _write(rows: dict[_Version, AuditedVersion], found: dict[_Version, Advice]) -> None:
    """Write the answers and the problems in one transaction."""
    with brief_transaction():
        known = _Known(name for name, _version in rows)
        for key, row in rows.items():
            row.problem = found[key].problem
            try:
                with transaction.atomic():
                    _relate(row, found[key], known)
            except Exception as error:
                # An answer that can't be written leaves only its own version unknown.
                logger.exception("The advisories of %s can't be kept", row)
                row.problem = explain(error)
                # The savepoint undid rows that `known` may hold: read them again.
                known = _Known(name for name, _version in rows)
        AuditedVersion.objects.bulk_update(rows.values(), ["problem"], batch_size=200)
        answered = [row.pk for row in rows.values() if not row.problem]
        AuditedVersion.objects.filter(pk__in=answered).update(checked_at=Now())


def _relate(row: AuditedVersion, advice: Advice, known: "_Known") -> None:
    """Whatever is known is added; only a full answer of the first source takes anything away.

    One that stands in for it, a file of last month for instance, may not know of it yet.
    """
    before = {each.pk for each in row.advisories.all()}
    now = {known.write(each).pk for each in advice.advisories}
    row.advisories.add(*(now - before))
    if not advice.problem and not advice.stands_in:
        row.advisories.remove(*(before - now))


class _Known:
    """The advisories of some packages, by each of their identifiers and aliases."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._rows = {
            (row.package, name): row
            for row in Advisory.objects.filter(package__in=set(packages))
            for name in row.names
        }

    def write(self, found: KnownAdvisory) -> Advisory:
        """Return the row of an advisory, created or updated; first_seen_at stays."""
        names = (found.identifier, *found.aliases)
        there = (self._rows.get((found.package, name)) for name in names)
        row = next(filter(None, there), None)
        if row is None:
            # The package belongs to the key: one identifier may name several, with other fixes.
            row, _is_new = Advisory.objects.get_or_create(
                identifier=found.identifier[:100], package=found.package
            )
        self._rows.update({(found.package, name): row for name in names})
        return _update(row, found)


def _update(row: Advisory, found: KnownAdvisory) -> Advisory:
    aliases = sorted({found.identifier, *found.aliases, *row.names} - {row.identifier})
    facts = {
        "aliases": aliases,
        "summary": found.summary,
        "fixed_in": list(found.fixed_in),
        "url": found.url[:500],
    }
    if any(getattr(row, name) != value for name, value in facts.items()):
        for name, value in facts.items():
            setattr(row, name, value)
        row.save(update_fields=list(facts))
    return row
