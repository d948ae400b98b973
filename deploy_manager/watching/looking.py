"""Looks: ask servers side by side what runs, and keep it on the rows.

Nothing is written on a server. Of two workers that ask the same one, only the one that began last
writes its answer.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta
from functools import cache

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.logs import log_error
from deploy_manager.masking import carried, masking
from deploy_manager.messages import Message, message_of
from deploy_manager.models import Environment, Placement, SeenProcess, Watch
from deploy_manager.models.places import forget_moved
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.row_checks import check_row
from deploy_manager.site_secrets import SiteSecrets, known_secrets, open_secrets
from deploy_manager.watching.asking import Look, Place, look_at
from deploy_manager.watching.judging import Context, State, judge

logger = logging.getLogger(__name__)

CHANGING = ("state", "since", "is_confirmed", "message", "releases", "restarts")
"""The columns of a process that a look may change."""

RESET_AFTER = timedelta(minutes=15)
"""What has run for so long since it was last started counts as well: starts are counted anew."""


def look_at_all(
    placements: QuerySet[Placement], at_once: int | None = None
) -> dict[Placement, Message]:
    """Ask servers side by side what runs; return each one's problem, blank if it answered.

    `at_once` limits how many, by default to MAX_HOSTS_AT_ONCE. What fails with one server stops no
    other.
    """
    asked = list(
        placements.select_related(
            "environment__project", "server__gateway", "active_release"
        ).prefetch_related("environment__secret_variables", "environment__tiers")
    )
    # Masked in a row is also what a server's thread opened on its way there: all is one work.
    with masking(()):
        return dict(_look_at_each(asked, at_once)) if asked else {}


def _look_at_each(
    asked: list[Placement], at_once: int | None
) -> Iterator[tuple[Placement, Message]]:
    # The pool's threads only speak with servers; all queries are made by this thread.
    with ThreadPoolExecutor(min(at_once or get_settings().MAX_HOSTS_AT_ONCE, len(asked))) as pool:
        # Once for each environment, which many of these servers have in common.
        opened, known = cache(open_secrets), cache(known_secrets)
        asking = {}
        for placement in asked:
            Watch.objects.get_or_create(placement=placement)
            row = Watch.objects.filter(placement=placement)
            row.update(tried_at=Now())
            # The database's own time, by which this attempt is told from later ones.
            begun = row.values_list("tried_at", flat=True).first()
            if begun is not None:
                asking[_begin(pool, placement, opened)] = placement, begun
        for future in as_completed(asking):
            placement, begun = asking[future]
            with masking(known(placement.environment)):
                problem = _note(placement, begun, future)
            yield placement, problem


def place_of(placement: Placement) -> Place:
    """Return where a placement is, as plain data. Raises InvalidRow."""
    check_row(placement)
    check_row(placement.environment, "python", "deploy_path")
    address = address_of(placement.server, environment=placement.environment)
    return Place(address, placement.deploy_path, placement.environment.python)


def _begin(
    pool: ThreadPoolExecutor, placement: Placement, opened: Callable[[Environment], SiteSecrets]
) -> "Future[Look]":
    try:
        place = place_of(placement)
        secrets = opened(placement.environment)
    except Exception as error:
        # An invalid row must not keep the other servers from being asked.
        failed: Future[Look] = Future()
        failed.set_exception(error)
        return failed
    with masking(secrets.all):
        return pool.submit(carried(look_at), place)


def _note(placement: Placement, begun: datetime, future: "Future[Look]") -> Message:
    """Write an answer or a problem; return the problem, blank if there is none."""
    # SQLite compares times as text: see packages/inventory.py.
    later = begun + timedelta(milliseconds=1)
    ours = Watch.objects.filter(placement=placement, tried_at__lt=later)
    try:
        look = future.result()
        with brief_transaction():
            forget_moved(placement.pk)  # which deletes a watch of elsewhere
            _write(placement, ours, look)
    except Exception as error:
        # The border of a server: whatever happens with one, the others are written.
        if not isinstance(error, DeployManagerError):
            log_error(logger, "%s could not be asked for its processes", placement)
        problem = message_of(error) or Message(type(error).__name__)
        ours.update(problem=problem)
        return problem
    return Message()


def _write(placement: Placement, ours: QuerySet[Watch], look: Look) -> None:
    watch = ours.first()
    # The update locks the row: what comes from two looks at once is written one after the other.
    if watch is None or not ours.update(seen_at=Now(), problem=""):
        return
    now = timezone.now()
    has_rebooted = "" not in (watch.boot_id, look.boot_id) and watch.boot_id != look.boot_id
    was_deployed = _was_deployed(placement, watch)
    seen_at = watch.seen_at or now
    was_started = watch.started_at is not None and watch.started_at > seen_at
    context = Context(
        release=placement.active_release.name if placement.active_release else "",
        is_calm=not (has_rebooted or was_deployed or was_started),
        now=now,
    )
    _write_processes(watch, look, context)
    is_well = all(row.state == State.UP for row in watch.processes.all())
    changes: dict[str, object] = {"supervisor": look.supervisor}
    if look.boot_id:
        changes["boot_id"] = look.boot_id
    if has_rebooted:
        changes |= {"rebooted_at": look.booted_at or now, "back_at": now if is_well else None}
    elif watch.rebooted_at is not None and watch.back_at is None and is_well:
        changes["back_at"] = now
    rests = watch.started_at is not None and now - watch.started_at > RESET_AFTER
    if watch.starts and (was_deployed or (is_well and rests)):
        changes |= {"starts": 0, "start_problem": ""}
    if any(getattr(watch, name) != value for name, value in changes.items()):
        Watch.objects.filter(pk=watch.pk).update(**changes)


def _was_deployed(placement: Placement, watch: Watch) -> bool:
    """Whether a deployment has worked there since the last look: it restarts what runs."""
    if watch.seen_at is None:
        return True
    since = Q(finished_at=None) | Q(finished_at__gt=watch.seen_at)
    return placement.host_runs.filter(since, started_at__isnull=False).exists()


def _write_processes(watch: Watch, look: Look, context: Context) -> None:
    """Write what differs from the rows."""
    rows = {(row.name, row.instance): row for row in watch.processes.all()}
    new, changed = [], []
    for found in look.processes:
        row = rows.pop((found.name, found.instance), None)
        if row is None:
            row = SeenProcess(watch=watch, name=found.name, instance=found.instance)
            new.append(row)
        values = judge(row, found, context)
        if any(getattr(row, name) != value for name, value in values.items()):
            changed.append(row)
        for name, value in values.items():
            setattr(row, name, value)
    SeenProcess.objects.filter(pk__in=[row.pk for row in rows.values()]).delete()
    SeenProcess.objects.bulk_update([row for row in changed if row.pk], CHANGING, batch_size=100)
    SeenProcess.objects.bulk_create(new)
