"""`manage.py check`: what is missing, and the lines that mend it."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Hint
from django.db import DatabaseError

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.logs import plain
from deploy_manager.models import Environment, Problem, Schedule, Server
from deploy_manager.recipes import broken_modules

TAG = "deploy_manager"
Check = Callable[..., list[CheckMessage]]
CELERY_APP = """Make a Celery app, import it in your project's __init__.py, and set in settings.py:
CELERY_BROKER_URL = "redis://127.0.0.1:6379/0\""""
START_BROKER = (
    """Start it, or mend CELERY_BROKER_URL in settings.py. Until then deployments stay queued."""
)
RECONCILE = """Run celery beat (or a worker with --beat), and set in settings.py:
CELERY_BEAT_SCHEDULE = {
    "deploy_manager": {
        "task": "deploy_manager.reconcile",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
}
Or run somewhere: manage.py reconcile --forever 5s"""
SSH_KEY = """Set in settings.py: DEPLOY_MANAGER = {"SSH_KEY_FILE": "/path/to/key"}
or, for the keys of an agent: DEPLOY_MANAGER = {"SSH_AGENT": True}"""
SQLITE = """Set DATABASES["default"]["OPTIONS"] = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL;",
}"""


def register(tag: str) -> Callable[[Check], Check]:
    """Register a check, whose messages do nothing to the terminal they are printed on."""

    def wrap(check: Check) -> Check:
        @checks.register(tag)
        @wraps(check)
        def plainly(**kwargs: Any) -> list[CheckMessage]:
            found = check(**kwargs)
            for message in found:
                message.msg = plain(str(message.msg))
                message.hint = message.hint and plain(str(message.hint))
            return found

        return plainly

    return wrap


@register(TAG)
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """The setting DEPLOY_MANAGER has only names that we know, with values of their types."""
    try:
        get_settings()
    except ConfigurationError as error:
        return [Error(str(error), id="deploy_manager.E001")]
    return []


@register(TAG)
def check_git(**kwargs: Any) -> list[CheckMessage]:
    """The worker reads repositories by the command git."""
    if shutil.which("git"):
        return []
    hint = "Install it where the worker runs: apt-get install git"
    return [Error("git is not installed.", hint=hint, id="deploy_manager.E002")]


@register(TAG)
def check_broker(**kwargs: Any) -> list[CheckMessage]:
    """There is a Celery app, and its broker answers."""
    if not _has_broker():
        return [Hint("No Celery app has a broker.", hint=CELERY_APP, id="deploy_manager.W001")]
    from deploy_manager import broker

    if problem := broker.broker_problem():
        message = f"The broker can't be reached: {problem}"
        return [Hint(message, hint=START_BROKER, id="deploy_manager.W002")]
    return []


@register(TAG)
def check_reconcile(**kwargs: Any) -> list[CheckMessage]:
    """Somebody reconciles: rings lost bells, replaces workers that died, begins what is due."""
    if not _has_broker():
        return []
    from deploy_manager import broker

    if broker.is_reconciled():
        return []
    message = "Nothing reconciles: a worker that dies leaves its deployment running."
    return [Hint(message, hint=RECONCILE, id="deploy_manager.W007")]


@register(TAG)
def check_ssh_key(**kwargs: Any) -> list[CheckMessage]:
    """Servers that are reached over SSH need a key, which nobody else may read."""
    try:
        return list(_ssh_key_problems())
    except ConfigurationError:
        return []  # E001 tells of it


@register(TAG)
def check_recipes(**kwargs: Any) -> list[CheckMessage]:
    """Every app's recipes could be imported."""
    return [
        Error(
            f"{module} can't be imported: {error}",
            hint="Its recipes are missing everywhere until it can.",
            id="deploy_manager.E003",
        )
        for module, error in broken_modules().items()
    ]


@register(TAG)
def check_builders(**kwargs: Any) -> list[CheckMessage]:
    """Who is chosen to build has something to build."""
    return [
        Hint(
            f"{environment} has a builder, but its servers fetch their wheels themselves.",
            hint="Choose in the admin that the worker sends wheels, or no builder.",
            id="deploy_manager.W009",
        )
        for environment in _idle_builders()
    ]


@register(TAG)
def check_problems(**kwargs: Any) -> list[CheckMessage]:
    """The reconcile loop can do what there is to do with every row."""
    return [
        Hint(
            text,
            hint="Mend it in the admin: the others go on meanwhile, and so does this one then.",
            id="deploy_manager.W010",
        )
        for text in _problems()
    ]


@register(TAG)
def check_sqlite(**kwargs: Any) -> list[CheckMessage]:
    """SQLite has to be told that web server, worker and commands write side by side."""
    database = django_settings.DATABASES["default"]
    if database["ENGINE"] != "django.db.backends.sqlite3":
        return []
    options = database.get("OPTIONS", {})
    is_told = (
        options.get("transaction_mode") == "IMMEDIATE"
        and "wal" in options.get("init_command", "").lower()
        and options.get("timeout", 0) >= 20
    )
    message = "SQLite refuses some writes when several processes write at once."
    return [] if is_told else [Hint(message, hint=SQLITE, id="deploy_manager.W003")]


def _has_broker() -> bool:
    """Whether the project made a Celery app that was told its broker.

    One that it made has been imported with the project. Else Celery is not imported to be asked:
    that takes half as long as Django, with every command.
    """
    if "celery" not in sys.modules and "CELERY_BROKER_URL" not in os.environ:
        return False
    from deploy_manager import broker

    return broker.has_broker()


def _ssh_key_problems() -> Iterator[CheckMessage]:
    settings = get_settings()
    key = settings.SSH_KEY_FILE
    if key is None:
        if not settings.SSH_AGENT and _has_ssh_servers():
            message = "There are servers to reach over SSH, but no key."
            yield Hint(message, hint=SSH_KEY, id="deploy_manager.W004")
    elif not key.is_file():
        message = f"The key {key} is not there."
        hint = f"Make it where the worker runs: ssh-keygen -t ed25519 -N '' -f {key}"
        yield Hint(message, hint=hint, id="deploy_manager.W005")
    elif stat.S_IMODE(key.stat().st_mode) & 0o077:
        message = f"Others may read the key {key}."
        yield Hint(message, hint=f"chmod 600 {key}", id="deploy_manager.W006")


def _idle_builders() -> list[Environment]:
    """Ask the database, where it is there and migrated already."""
    try:
        found = Environment.objects.filter(builder__isnull=False)
        fetching = found.exclude(wheels=Environment.Wheels.SHIPPED)
        return list(fetching.select_related("project"))
    except DatabaseError:
        return []


def _problems() -> list[str]:
    """Ask the database, where it is there and migrated already."""
    try:
        found = Problem.objects.select_related("environment__project")
        told = [
            f"{each.environment or 'deploy_manager'}, since {each.since:%Y-%m-%d %H:%M %Z}: {each}"
            for each in found
        ]
        idle = Schedule.objects.filter(is_enabled=True).exclude(outcome="")
        return told + [
            f"{each}: {each.outcome}" for each in idle.select_related("environment__project")
        ]
    except DatabaseError:
        return []


def _has_ssh_servers() -> bool:
    """Ask the database, where it is there and migrated already."""
    try:
        return Server.objects.filter(connection=Server.Connection.SSH).exists()
    except DatabaseError:
        return False
