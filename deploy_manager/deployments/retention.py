"""Retention: how long deployments, logs, the audit, deliveries and wheels are kept, and removing.

A setting says how many days each is kept; without it nothing is removed. What serves, what is
needed to deploy again, and what an event of the audit names stays whatever its age.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db.models import Count, Exists, OuterRef, QuerySet, Sum
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.translation import gettext_noop as _
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from deploy_manager.conf import get_settings
from deploy_manager.messages import Message
from deploy_manager.models import (
    LIVE,
    AuditEvent,
    Deployment,
    LogChunk,
    Release,
    WebhookDelivery,
)
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.pins import pins_in

JOB = "removed what is past its retention"
ROUND_SECONDS = 3600
AT_ONCE = 200
"""Deployments that one transaction removes: each may have thousands of lines of a log."""


@dataclass(frozen=True)
class Holding:
    """How much there is of a kind, and how much of it is past its time."""

    kind: str
    label: str
    days: int | None
    """None: kept for ever."""

    count: int
    size: int | None
    """Bytes; None: they are not counted."""

    past: int


def holdings() -> list[Holding]:
    """Return what is kept here, and what is past its time."""
    return [
        _holding("logs", _("pieces of output"), LogChunk.objects.all(), _past_logs, "data"),
        _holding("deployments", _("deployments"), Deployment.objects.all(), _past_deployments),
        _holding("audit", _("audit events"), AuditEvent.objects.all(), _past_events),
        _holding(
            "deliveries",
            _("deliveries of webhooks"),
            WebhookDelivery.objects.all(),
            _past_deliveries,
        ),
        _wheels_held(),
    ]


def remove_past() -> dict[str, int]:
    """Remove what is past its time; return how much of each kind."""
    return {kind: remove(before) for kind, remove in REMOVALS.items() if (before := _before(kind))}


def why_no_log(deployment: Deployment) -> Message:
    """Say that the log of a deployment was removed; nothing if it was not."""
    days, ended = _days("logs"), deployment.finished_at
    if days is None or ended is None or ended > timezone.now() - timedelta(days=days):
        return Message()
    if deployment.log_chunks.exists():
        return Message()
    return Message(_("The log was removed: logs are kept for %(days)d days."), days=days)


_last_round: float | None = None


def keep_retention() -> int:
    """Remove what is past its time, at most once an hour in a process."""
    global _last_round
    now = time.monotonic()
    if _last_round is not None and now - _last_round < ROUND_SECONDS:
        return 0
    _last_round = now
    return sum(remove_past().values())


def _days(kind: str) -> int | None:
    return get_settings().RETENTION.get(kind)


def _before(kind: str) -> datetime | None:
    """Return the moment before which a kind is past its time; None: it never is."""
    days = _days(kind)
    return None if days is None else timezone.now() - timedelta(days=days)


def _holding(
    kind: str,
    label: str,
    rows: "QuerySet[Any]",
    past: "Callable[[datetime], QuerySet[Any]]",
    measured: str = "",
) -> Holding:
    size = {"size": Sum(Length(measured))} if measured else {}
    found = rows.order_by().aggregate(count=Count("pk"), **size)
    before = _before(kind)
    return Holding(
        kind,
        label,
        _days(kind),
        found["count"],
        (found["size"] or 0) if measured else None,
        past(before).count() if before else 0,
    )


def _ended(before: datetime) -> "QuerySet[Deployment]":
    return Deployment.objects.exclude(state__in=LIVE).filter(finished_at__lt=before)


# Logs


def _past_logs(before: datetime) -> "QuerySet[LogChunk]":
    return LogChunk.objects.filter(deployment__in=_ended(before))


def _remove_logs(before: datetime) -> int:
    removed = 0
    for pk in (
        _ended(before).filter(log_chunks__isnull=False).distinct().values_list("pk", flat=True)
    ):
        # One deployment's at a time: a transaction of all would keep the writers waiting.
        removed += LogChunk.objects.filter(deployment=pk)._raw_delete(LogChunk.objects.db)
    return removed


# Deployments


def _past_deployments(before: datetime) -> "QuerySet[Deployment]":
    # Servers refuse a lower number than they have seen: the highest of each environment stays.
    later = Deployment.objects.filter(
        environment=OuterRef("environment"), begin_number__gt=OuterRef("begin_number")
    )
    audited = AuditEvent.objects.filter(deployment_number=OuterRef("pk"))
    serving = Release.objects.filter(pk=OuterRef("release"), active_on__isnull=False)
    needless = _ended(before).filter(Exists(later), ~Exists(audited), ~Exists(serving))
    return needless.order_by("pk")


def _remove_deployments(before: datetime) -> int:
    removed = 0
    while some := list(_past_deployments(before).values_list("pk", flat=True)[:AT_ONCE]):
        with brief_transaction():
            Deployment.objects.filter(pk__in=some).delete()
        removed += len(some)
    return removed


# The audit


def _past_events(before: datetime) -> "QuerySet[AuditEvent]":
    return AuditEvent.objects.filter(at__lt=before)


def _remove_events(before: datetime) -> int:
    return AuditEvent.objects.remove_before(before)


# Deliveries of webhooks


def _past_deliveries(before: datetime) -> "QuerySet[WebhookDelivery]":
    # One that is replayed after that finds the deployment of its commit, which runs once.
    return WebhookDelivery.objects.filter(received_at__lt=before)


def _remove_deliveries(before: datetime) -> int:
    return _past_deliveries(before)._raw_delete(WebhookDelivery.objects.db)


# Wheels


def _wheel_files() -> Iterator[tuple[Path, int, float]]:
    """Yield the files of the worker's cache, with size and time; none on another machine."""
    for path in (get_settings().CACHE / "wheels" / "files").glob("*/*"):
        try:
            facts = path.stat()
        except OSError:
            continue  # removed meanwhile, by another process
        yield path, facts.st_size, facts.st_mtime


def _needed() -> set[tuple[str, str]]:
    """Return names and versions that the lock files of serving releases pin."""
    serving = Release.objects.filter(active_on__isnull=False).select_related("lock").distinct()
    return {
        (pin.name, str(pin.version)) for release in serving for pin in pins_in(release.lock.text)
    }


def _name_and_version(path: Path) -> tuple[str, str] | None:
    try:
        if path.suffix == ".whl":
            name, version, *_rest = parse_wheel_filename(path.name)
        else:
            name, version = parse_sdist_filename(path.name)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return str(name), str(version)


def _past_wheels(before: datetime) -> list[Path]:
    needed = _needed()
    return [
        path
        for path, _size, changed in _wheel_files()
        if changed < before.timestamp() and _name_and_version(path) not in needed
    ]


def _wheels_held() -> Holding:
    files = list(_wheel_files())
    before = _before("wheels")
    return Holding(
        "wheels",
        _("packages cached on this machine"),
        _days("wheels"),
        len(files),
        sum(size for _path, size, _changed in files),
        len(_past_wheels(before)) if before else 0,
    )


def _remove_wheels(before: datetime) -> int:
    past = _past_wheels(before)
    for path in past:
        # Whoever reads it at this moment goes on with it: what is missing is fetched again.
        path.unlink(missing_ok=True)
    return len(past)


REMOVALS: dict[str, Callable[[datetime], int]] = {
    "logs": _remove_logs,
    "audit": _remove_events,
    "deployments": _remove_deployments,
    "deliveries": _remove_deliveries,
    "wheels": _remove_wheels,
}
"""In this order: an event of the audit that is gone keeps no deployment any more."""
