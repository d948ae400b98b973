"""Transactions that lock a deployment's row: short, whatever becomes of the process meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

LOCKED_AT_MOST = 5
"""Seconds that a process which was stopped in the middle keeps everybody else waiting."""


@contextmanager
def brief_transaction() -> Iterator[None]:
    """Make a transaction that the database ends by itself if this process does not go on.

    A process that is stopped while it holds a row's lock would hold it for ever. SQLite has no such
    limit: there the others wait until they give up.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(
                    f"SET LOCAL idle_in_transaction_session_timeout = '{LOCKED_AT_MOST}s'"
                )
        yield
