"""Transactions that lock a deployment's row: kept short even if their process is stopped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

LOCKED_AT_MOST = 5
"""Seconds that a process stopped in the middle of a transaction keeps the others waiting."""


@contextmanager
def brief_transaction() -> Iterator[None]:
    """Make a transaction that the database ends on its own if this process does not go on.

    A process that is stopped while it locks a row would lock it for ever. SQLite has no such limit:
    there the others wait until their timeout.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            # LOCAL: for this transaction only, so that a pooled connection stays as it was.
            with connection.cursor() as cursor:
                # Written into the text: PostgreSQL's SET takes no parameters.
                cursor.execute(
                    f"SET LOCAL idle_in_transaction_session_timeout = '{LOCKED_AT_MOST}s'"
                )
        yield


def after_commit(act: Callable[..., object], *args: object) -> None:
    """Have something done after the commit: what was committed stays so, whatever happens then.

    Django's own robust callbacks log the function's name, and `partial` has none: the error would
    be raised to whoever committed.
    """

    def then() -> None:
        act(*args)

    transaction.on_commit(then, robust=True)
