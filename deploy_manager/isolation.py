"""One bad row never stops the others: what fails is kept as its problem, and the next one begins.

This is the border of the reconcile jobs and of each row in them: any exception ends here, whatever
raised it. A database that can't even be told of the problem is away: that goes on up.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

from django.core.exceptions import PermissionDenied
from django.db import connection, models, transaction

from deploy_manager.exceptions import DeployManagerError
from deploy_manager.logs import plain
from deploy_manager.models import Problem

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=models.Model)
T = TypeVar("T")

_failing: ContextVar[set[int] | None] = ContextVar("failing", default=None)
"""The problems that this round of a job has met."""


@contextmanager
def job_round(job: str) -> Iterator[None]:
    """Do a round of a whole job; what it met before and does not meet any more is forgotten.

    Raises DatabaseError where the database is away.
    """
    failing: set[int] = set()
    token = _failing.set(failing)
    is_whole = False
    try:
        with _noted(job, "", 0, None, ""):
            yield
            is_whole = True
    finally:
        _failing.reset(token)
    if is_whole:
        Problem.objects.filter(job=job).exclude(pk__in=failing).delete()


def one_by_one(
    job: str, rows: "models.QuerySet[M]", act: Callable[[M], T], environment: str = ""
) -> list[T]:
    """Act on each row by itself; return what came of those that did well, in their order.

    Each is read by itself, too: one that can't even be read keeps no other from being so. What is
    gone, or does not belong to `rows` any more when its turn comes, is left. `environment` is the
    field by which a row knows on whose page its problems are told.
    """
    fields = ("pk", environment) if environment else ("pk",)
    done: list[T] = []
    for pk, *of in list(rows.values_list(*fields)):
        with isolated(job, rows.model, pk, of[0] if of else None):
            row = rows.filter(pk=pk).first()
            if row is not None:
                done.append(act(row))
    return done


@contextmanager
def isolated(
    job: str, model: type[models.Model], pk: int, environment: int | None = None
) -> Iterator[None]:
    """Keep what a block raises as the problem of one row, in the page of that environment.

    Raises DatabaseError where the database is away.
    """
    name = f"{model._meta.verbose_name} #{pk}"
    with _noted(job, model._meta.model_name or "", pk, environment, name):
        yield


def forget(job: str, row: models.Model) -> None:
    """Forget a problem of a job that has no rounds: it did well."""
    Problem.objects.about(row).filter(job=job).delete()


def explain(error: BaseException) -> str:
    """Return what an exception means to a person: ours are words already."""
    if isinstance(error, (DeployManagerError, PermissionDenied)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def drop_a_broken_connection() -> None:
    """Let what comes next have a new connection, where an error left this one unusable."""
    if not connection.in_atomic_block:  # that of a caller goes on, or fails by itself
        connection.close_if_unusable_or_obsolete()


@contextmanager
def _noted(job: str, kind: str, key: int, environment: int | None, name: str) -> Iterator[None]:
    # In a transaction of a caller's an error must undo this row's part only, or it poisons the
    # rest. Elsewhere there is none, so that what a row did is there before anybody is told of it.
    savepoint = transaction.atomic() if connection.in_atomic_block else nullcontext()
    try:
        with savepoint:
            yield
    except Exception as error:
        drop_a_broken_connection()
        pk, is_new = Problem.objects.note(
            explain(error), job=job, kind=kind, key=key, environment_id=environment, name=name
        )
        if (failing := _failing.get()) is not None:
            failing.add(pk)
        if is_new:
            is_ours = isinstance(error, (DeployManagerError, PermissionDenied))
            trace = None if is_ours else error
            told = plain(str(error))  # the log may be an operator's terminal
            logger.warning("“%s” fails on %s: %s", job, name or "all", told, exc_info=trace)
