"""The bell. A task carries a deployment's id and nothing else; the row says the rest."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import current_app, shared_task
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError

from deploy_manager.models import Deployment, Environment, State
from deploy_manager.runner import request as write_request
from deploy_manager.runner import run

logger = logging.getLogger(__name__)

CHECKS_FOR = 1
"""Seconds that a check waits for the broker."""

RINGS_FOR = 5
"""Seconds that a request waits for the broker: somebody waits for its page."""


@shared_task(name="deploy_manager.run_deployment", ignore_result=True)
def run_deployment(deployment_id: int) -> None:
    """Claim the deployment and run it; do nothing where somebody else has."""
    run(deployment_id)


def request(environment: Environment, recipe: str = "deploy", **details: Any) -> Deployment:
    """Write a deployment and tell a worker after the commit.

    Takes and raises what `runner.request` does. Where no broker answers the deployment stays
    *queued* and its message says why nobody was told.
    """
    with transaction.atomic():
        deployment = write_request(environment, recipe, **details)
        transaction.on_commit(partial(ring, deployment.pk))
    return deployment


def ring(deployment_id: int) -> bool:
    """Tell the workers of a queued deployment; False where the broker can't be reached."""
    try:
        with _connection(RINGS_FOR) as connection:
            producer = connection.Producer(auto_declare=False)
            run_deployment.apply_async((deployment_id,), producer=producer, retry=False)
    except Exception as error:
        # The border to the broker: the row is written, whatever its library raises.
        why = _explain(error)
        logger.warning("Deployment %s was queued, but no worker told: %s", deployment_id, why)
        Deployment.objects.filter(pk=deployment_id, state=State.QUEUED).update(
            message=f"No worker could be told: {why}"
        )
        return False
    return True


def has_broker() -> bool:
    """Whether the project has a Celery app that was told its broker."""
    return bool(current_app.conf.broker_url)


def broker_problem() -> str:
    """Return why no worker can be told of anything; blank where the broker answers in a second."""
    try:
        with _connection(CHECKS_FOR) as connection:
            return _reach(connection)
    except Exception as error:
        # The border to the broker: a check tells, whatever its library raises.
        return _explain(error)


def _reach(connection: Connection) -> str:
    try:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=CHECKS_FOR)
    except OperationalError as error:
        return f"{connection.as_uri()}: {error}"
    return ""


def _explain(error: Exception) -> str:
    """Return what the broker's library means. No part of a URL with a password is in it."""
    match error:
        case ValueError():
            return "its URL can't be read. Write signs like / and @ in a password as %2F and %40."
        case KeyError():
            return str(error.args[0])
        case _:
            return str(error) or type(error).__name__


@contextmanager
def _connection(seconds: int) -> Iterator[Connection]:
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
