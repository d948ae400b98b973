"""A real Celery worker, in a process of its own, on the test's own database and broker."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from tests.celery_app import app
from tests.parts.processes import running

UseBroker = Callable[..., None]
StartWorker = Callable[[], None]
StartScheduler = Callable[[float], None]


@pytest.fixture
def use_broker() -> Iterator[UseBroker]:
    """Have this process, and the workers it starts, use a broker: its URL and its options."""

    def use(url: str, **options: Any) -> None:
        # By the names in the settings: celery 5.6 hears no others where there are such.
        app.conf.update(CELERY_BROKER_URL=url, CELERY_BROKER_TRANSPORT_OPTIONS=options)
        # What the app has opened so far belongs to the broker before: as after a fork.
        app._after_fork()  # type: ignore[attr-defined]

    before = app.conf.broker_url, app.conf.broker_transport_options
    yield use
    use(before[0], **before[1])


@pytest.fixture
def embedded_broker(use_broker: UseBroker, tmp_path: Path) -> None:
    """A folder as broker, as in the demo."""
    use_broker("embedded://", folder=str(tmp_path / "broker"))


@pytest.fixture
def start_worker(
    embedded_broker: None, transactional_db: None, tmp_path: Path, settings: Settings
) -> Iterator[StartWorker]:
    """Start a worker on the broker in use (default: a folder); returns once it is ready."""
    with ExitStack() as stack:

        def start() -> None:
            log = tmp_path / "worker.log"
            command = [sys.executable, "-m", "celery", "-A", "tests.celery_app", "worker"]
            command += ["--pool", "threads", "--concurrency", "4", "--loglevel", "info"]
            stack.enter_context(
                running(
                    command,
                    lambda: "ready." in log.read_text(errors="replace"),
                    log,
                    environment={**os.environ, **environment_of_a_worker(settings)},
                )
            )

        yield start


@pytest.fixture
def start_scheduler(tmp_path: Path, settings: Settings) -> Iterator[StartScheduler]:
    """Start Celery's beat on the broker in use: rows are reconciled every so many seconds."""
    with ExitStack() as stack:

        def start(reconciles_every: float) -> None:
            log = tmp_path / "beat.log"
            command = [sys.executable, "-m", "celery", "-A", "tests.celery_app", "beat"]
            command += ["--schedule", str(tmp_path / "beat"), "--loglevel", "info", "--pidfile="]
            own = {"TEST_RECONCILE_EVERY": str(reconciles_every)}
            stack.enter_context(
                running(
                    command,
                    lambda: "beat: Starting" in log.read_text(errors="replace"),
                    log,
                    environment={**os.environ, **environment_of_a_worker(settings), **own},
                )
            )

        yield start


def environment_of_a_worker(settings: Settings) -> dict[str, str]:
    """What tests/settings.py reads in the worker's process."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        "TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "TEST_DEPLOY_MANAGER": json.dumps(settings.DEPLOY_MANAGER, default=str),
        "TEST_BROKER": json.dumps([app.conf.broker_url, app.conf.broker_transport_options]),
    }
