"""The broker: whether there is one, whether it answers, and a connection that does not wait long.

It knows Celery and nothing of ours: `manage.py check` asks here without importing any task.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import current_app
from django.apps import apps
from django.db import DatabaseError
from kombu import Connection
from kombu.exceptions import OperationalError

RECONCILE = "deploy_manager.reconcile"
"""The name of the task that keeps rows true."""

CHECKS_FOR = 1
"""Seconds that a check waits for the broker."""


def has_broker() -> bool:
    """Whether the project has a Celery app that was told its broker."""
    return bool(current_app.conf.broker_url)


def is_reconciled() -> bool:
    """Whether the beat schedule of the project has the reconcile loop in it."""
    entries = (current_app.conf.beat_schedule or {}).values()
    return any(entry.get("task") == RECONCILE for entry in entries) or _is_reconciled_by_rows()


def _is_reconciled_by_rows() -> bool:
    """django-celery-beat, where a project has it, keeps schedules in tables."""
    if not apps.is_installed("django_celery_beat"):
        return False
    rows = apps.get_app_config("django_celery_beat").get_model("PeriodicTask")._default_manager
    try:
        return bool(rows.filter(task=RECONCILE, enabled=True).exists())
    except DatabaseError:
        return False


def broker_problem() -> str:
    """Return why no worker can be told of anything; blank where the broker answers in a second."""
    try:
        with connect(CHECKS_FOR) as connection:
            return _reach(connection)
    except Exception as error:
        # The border to the broker: a check tells, whatever its library raises.
        return explain(error)


def _reach(connection: Connection) -> str:
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=CHECKS_FOR)
    except OperationalError as error:
        return f"{connection.as_uri()}: {error}"
    return ""


def explain(error: Exception) -> str:
    """Return what the broker's library means. No part of a URL with a password is in it."""
    match error:
        case ValueError():
            return "its URL can't be read. Write signs like / and @ in a password as %2F and %40."
        case KeyError():
            return str(error.args[0])
        case _:
            return str(error) or type(error).__name__


@contextmanager
def connect(seconds: int) -> Iterator[Connection]:
    """Yield a connection to the broker that gives up after some seconds.

    Celery's own tries for minutes: https://github.com/celery/celery/issues/4296.
    """
    options = {
        **current_app.conf.broker_transport_options,
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        "max_retries": 1,
        "interval_start": 0,
    }
    with current_app.connection_for_write(
        connect_timeout=seconds, transport_options=options
    ) as connection:
        yield connection
