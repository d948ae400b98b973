"""The project's Celery broker: its presence, its problems, and a connection with a short timeout.

It imports Celery and nothing of this app, so that `manage.py check` loads no task.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from celery import current_app
from django.apps import apps
from django.db import DatabaseError
from kombu import Connection
from kombu.exceptions import OperationalError

RECONCILE = "deploy_manager.reconcile"
"""The name of the task that the beat schedule has to have."""

CHECK_TIMEOUT = 1
"""Seconds that a check waits for the broker."""


def has_broker() -> bool:
    """Return whether the project has a Celery app with a broker."""
    return bool(current_app.conf.broker_url)


def is_reconciled() -> bool:
    """Return whether the beat schedule contains reconcile, or a row of django-celery-beat does."""
    entries = (current_app.conf.beat_schedule or {}).values()
    if any(entry.get("task") == RECONCILE for entry in entries):
        return True
    if not apps.is_installed("django_celery_beat"):
        return False
    rows = apps.get_app_config("django_celery_beat").get_model("PeriodicTask")._default_manager
    try:
        return bool(rows.filter(task=RECONCILE, enabled=True).exists())
    except DatabaseError:  # its tables are not there yet, or the database is away
        return False


def broker_problem() -> str:
    """Return why no worker can be woken; blank if the broker answers within a second."""
    try:
        with connect(CHECK_TIMEOUT) as connection:
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=CHECK_TIMEOUT)
            except OperationalError as error:
                return f"{connection.as_uri()}: {error}"
    except Exception as error:
        # Each broker's library raises its own exceptions: all of them are a problem to report.
        return explain(error)
    return ""


def explain(error: Exception) -> str:
    """Return an error of the broker's library in words, without any part of a URL."""
    match error:
        case ValueError():
            # Its message quotes a part of the URL, which may be the password.
            return "its URL can't be read. Write signs like / and @ in a password as %2F and %40."
        case KeyError():  # str() would put the message in quotes
            return str(error.args[0])
        case _:
            return str(error) or type(error).__name__


@contextmanager
def connect(seconds: int) -> Iterator[Connection]:
    """Yield a connection to the broker that gives up after some seconds.

    Celery's own keeps trying for minutes: https://github.com/celery/celery/issues/4296.
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
