"""Isolation: one bad row never stops the others. Its error is kept as a Problem of the row.

This is the border of the jobs of `reconcile` and of each row in them: every exception ends here. If
the problem can't be written either, the database is away: that exception is raised.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from traceback import format_exception
from typing import TypeVar

from django.core.exceptions import PermissionDenied
from django.db import connection, models, transaction

from deploy_manager.exceptions import DeployManagerError
from deploy_manager.logs import mask_text, plain
from deploy_manager.messages import Message
from deploy_manager.models import Problem

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=models.Model)
T = TypeVar("T")

# Of the context, since several threads of a process may do rounds at the same time.
_failing: ContextVar[set[int] | None] = ContextVar("failing", default=None)
"""The problems that this round of a job ran into."""


@contextmanager
def job_round(job: str) -> Iterator[None]:
    """Do a round of a job; problems of earlier rounds that do not come up again are deleted.

    Raises DatabaseError if the database is away.
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
    """Act on each row in isolation; return the results of those without an error, in their order.

    Each is read in isolation, too: one that can't be read stops no other. A row that is deleted, or
    no longer in `rows` when its turn comes, is passed over. `environment` is the field that leads
    to the environment whose page shows a row's problems.
    """
    fields = ("pk", environment) if environment else ("pk",)
    done: list[T] = []
    # Read to the end first: what is done to one row may change which others are found.
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
    """Keep an exception of a block as the problem of one row, shown on that environment's page.

    Raises DatabaseError if the database is away.
    """
    name = f"{model._meta.verbose_name} #{pk}"
    with _noted(job, model._meta.model_name or "", pk, environment, name):
        yield


def forget(job: str, row: models.Model) -> None:
    """Delete a row's problem of a job without rounds, after it succeeded."""
    Problem.objects.about(row).filter(job=job).delete()


def explain(error: BaseException) -> Message:
    """Return an exception as a message for people: those of our own have one already."""
    if isinstance(error, DeployManagerError) and error.message:
        return error.message
    if isinstance(error, PermissionDenied) and str(error):
        return Message(str(error), "request_refused")
    return Message(f"{type(error).__name__}: {error}", "unexpected_error")


def drop_a_broken_connection() -> None:
    """Close the connection if an error left it unusable: the next query opens a new one."""
    if not connection.in_atomic_block:  # a transaction of a caller's must not be cut
        connection.close_if_unusable_or_obsolete()


@contextmanager
def _noted(job: str, kind: str, key: int, environment: int | None, name: str) -> Iterator[None]:
    # Inside a caller's transaction an error must undo only this row's part, or it poisons the rest.
    # Otherwise there is none, so that a row's changes are committed before a worker is woken.
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
            # Plain, since the log may be an operator's terminal.
            text = plain(mask_text(str(error)))
            if not isinstance(error, (DeployManagerError, PermissionDenied)):
                text = f"{text}\n{mask_text(''.join(format_exception(error)))}".rstrip()
            logger.warning("“%s” fails on %s: %s", job, name or "all", text)
