"""The system checks of `manage.py check`, with hints that contain the lines to add."""

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
from deploy_manager.exceptions import ConfigurationError, UnknownRecipe
from deploy_manager.logs import plain
from deploy_manager.masking import looks_secret
from deploy_manager.messages import few
from deploy_manager.models import Credential, Environment, Problem, Schedule, Server
from deploy_manager.models.shapes import texts_by_name

TAG = "deploy_manager"
Check = Callable[..., list[CheckMessage]]
CELERY_APP = """Create a Celery app, import it in the project's __init__.py, and set in settings.py:
CELERY_BROKER_URL = "redis://127.0.0.1:6379/0\""""
START_BROKER = (
    """Start it, or correct CELERY_BROKER_URL in settings.py. Until then deployments stay queued."""
)
RECONCILE = """Run celery beat (or a worker with --beat), and set in settings.py:
CELERY_BEAT_SCHEDULE = {
    "deploy_manager": {
        "task": "deploy_manager.reconcile",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
}
Or keep this running: manage.py reconcile --forever 5s"""
SSH_KEY = """Set in settings.py: DEPLOY_MANAGER = {"SSH_KEY_FILE": "/path/to/key"}
or, to use the keys of an agent: DEPLOY_MANAGER = {"SSH_AGENT": True}"""
SECRETS = """Run manage.py secrets_key where the worker runs, and see docs/credentials.md."""
CREDENTIAL = (
    """Correct it in the admin, under Credentials. What uses another one is not affected."""
)
HOST_KEY = """In the admin, under Servers, choose “Fetch host key” for each. Compare it with
the one that the server itself shows: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"""
# IMMEDIATE, since SQLite refuses a transaction that reads first and then finds another writer, at
# once and whatever the timeout is: SQLITE_BUSY_SNAPSHOT, https://www.sqlite.org/isolation.html.
# WAL lets pages read meanwhile.
SQLITE = """Set DATABASES["default"]["OPTIONS"] = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL;",
}"""


LOCAL_SERVERS = """Whoever deploys there could read the keys of all servers. Let it be reached over
SSH, as an account of its own. To try things out, set in settings.py:
DEPLOY_MANAGER = {"LOCAL_SERVERS": True}"""

MOST_NAMES = 10


def register(tag: str) -> Callable[[Check], Check]:
    """Register a check; control characters are taken out of its messages.

    They contain names from rows, which could otherwise send commands to the terminal.
    """

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
    """The setting DEPLOY_MANAGER has only known names, with values of their types."""
    try:
        get_settings()
    except ConfigurationError as error:
        return [Error(str(error), id="deploy_manager.E001")]
    return []


@register(TAG)
def check_git(**kwargs: Any) -> list[CheckMessage]:
    """The worker reads repositories with the command git."""
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
    """Reconcile is scheduled: it wakes workers, replaces silent ones, starts what is due."""
    if not _has_broker():
        return []
    from deploy_manager import broker

    if broker.is_reconciled():
        return []
    message = "Reconcile is not scheduled: if a worker dies, its deployment stays running."
    return [Hint(message, hint=RECONCILE, id="deploy_manager.W007")]


@register(TAG)
def check_ssh_key(**kwargs: Any) -> list[CheckMessage]:
    """Servers that are reached over SSH need a key that only its owner may read."""
    try:
        return list(_ssh_key_problems())
    except ConfigurationError:
        return []  # reported as E001


@register(TAG)
def check_host_keys(**kwargs: Any) -> list[CheckMessage]:
    """Every server that is reached over SSH has a pinned host key."""
    try:
        unpinned = Server.objects.filter(connection=Server.Connection.SSH, host_key="")
        names = list(unpinned.values_list("name", flat=True))
    except DatabaseError:  # no database, or not migrated yet
        return []
    if not names:
        return []
    return [
        Hint(
            f"Without a pinned host key nothing is sent to {few(names, MOST_NAMES)}.",
            hint=HOST_KEY,
            id="deploy_manager.W011",
        )
    ]


@register(TAG)
def check_local_servers(**kwargs: Any) -> list[CheckMessage]:
    """No server is the worker's own machine, unless the setting allows it."""
    try:
        if get_settings().LOCAL_SERVERS:
            return []
        local = Server.objects.filter(connection=Server.Connection.LOCAL)
        names = list(local.values_list("name", flat=True))
    except ConfigurationError:
        return []  # reported as E001
    except DatabaseError:  # no database, or not migrated yet
        return []
    if not names:
        return []
    message = f"Nothing is sent to {few(names, MOST_NAMES)}: that is the worker's own machine."
    return [Hint(message, hint=LOCAL_SERVERS, id="deploy_manager.W012")]


@register(TAG)
def check_credentials(**kwargs: Any) -> list[CheckMessage]:
    """What seals and opens secrets is there; where secrets are opened, each of them opens."""
    try:
        if not _has_credentials() and not get_settings().SECRETS_KEY_FILE:
            return []
        from deploy_manager.credential_checks import credential_problems

        return [
            Error(str(each.text), hint=SECRETS, id="deploy_manager.E006")
            if each.is_general
            else Hint(str(each.text), hint=CREDENTIAL, id="deploy_manager.W013")
            for each in credential_problems()
        ]
    except ConfigurationError:
        return []  # reported as E001
    except DatabaseError:  # no database, or not migrated yet
        return []


@register(TAG)
def check_recipes(**kwargs: Any) -> list[CheckMessage]:
    """Every app's recipes could be imported."""
    from deploy_manager.recipes import broken_modules

    return [
        Error(
            f"{module} can't be imported: {error}",
            hint="Its recipes are missing until this is fixed.",
            id="deploy_manager.E003",
        )
        for module, error in broken_modules().items()
    ]


@register(TAG)
def check_pipelines(**kwargs: Any) -> list[CheckMessage]:
    """Pipelines name recipes that exist, and recipes options that an environment has."""
    from deploy_manager.recipes import all_pipelines

    fields = {field.name for field in Environment._meta.fields}
    named: dict[str, str] = {}
    found: list[CheckMessage] = []
    for pipeline in all_pipelines():
        try:
            named |= {recipe.name: recipe.option for recipe in pipeline.recipes if recipe.option}
        except UnknownRecipe as error:
            hint = "Correct the name in its phases, or register the recipe."
            message = f"The pipeline {pipeline.name} can't run: {error}"
            found.append(Error(message, hint=hint, id="deploy_manager.E004"))
    return found + [
        Error(
            f"The recipe {name} names the option {option!r}: an environment has no such field.",
            hint="Name one of its fields: @recipe(option=…).",
            id="deploy_manager.E005",
        )
        for name, option in named.items()
        if option not in fields
    ]


@register(TAG)
def check_builders(**kwargs: Any) -> list[CheckMessage]:
    """A builder has something to build."""
    try:
        built = Environment.objects.filter(builder__isnull=False).select_related("project")
        idle = list(built.exclude(wheels=Environment.Wheels.SHIPPED))
    except DatabaseError:  # no database, or not migrated yet
        return []
    return [
        Hint(
            f"{environment} has a builder, but its servers fetch their wheels themselves.",
            hint="In the admin, let the worker send the wheels, or remove the builder.",
            id="deploy_manager.W009",
        )
        for environment in idle
    ]


@register(TAG)
def check_problems(**kwargs: Any) -> list[CheckMessage]:
    """Reconcile has no problem with any row."""
    try:
        problems = Problem.objects.select_related("environment__project")
        texts = [
            f"{each.environment or 'deploy_manager'}, since {each.since:%Y-%m-%d %H:%M %Z}: {each}"
            for each in problems
        ]
        schedules = Schedule.objects.filter(is_enabled=True).exclude(outcome="")
        for schedule in schedules.select_related("environment__project"):
            texts.append(f"{schedule}: {schedule.outcome}")
    except DatabaseError:  # no database, or not migrated yet
        return []
    return [
        Hint(
            text,
            hint="Correct it in the admin. It continues then; the others are not affected.",
            id="deploy_manager.W010",
        )
        for text in texts
    ]


@register(TAG)
def check_secrets(**kwargs: Any) -> list[CheckMessage]:
    """Every secret can be opened by the worker, and none stands among the plain variables."""
    found: list[CheckMessage] = []
    try:
        has_keys = get_settings().SECRETS_KEY_FILE is not None
        for each in _environments_with_secrets():
            if names := looks_secret(texts_by_name(each.variables)):
                found.append(
                    Hint(
                        f"{each}: these plain variables look like secrets: {', '.join(names)}.",
                        hint=f"Seal them: manage.py secret {each} --seal",
                        id="deploy_manager.W021",
                    )
                )
            # A web server has no key that opens them.
            has_any = bool(each.secret_variables.all()) or any(t.secret for t in each.tiers.all())
            if has_keys and has_any:
                found += _unreadable_secrets(each)
    except (ConfigurationError, DatabaseError):  # reported as E001; not migrated yet
        return found
    return found


def _unreadable_secrets(environment: Environment) -> list[CheckMessage]:
    from deploy_manager.site_secrets import why_unreadable

    texts = why_unreadable(environment)
    return [Error(f"{environment}: {text}", id="deploy_manager.E020") for text in texts]


def _environments_with_secrets() -> list[Environment]:
    found = Environment.objects.select_related("project")
    return list(found.prefetch_related("secret_variables", "tiers"))


@register(TAG)
def check_sqlite(**kwargs: Any) -> list[CheckMessage]:
    """SQLite is configured for web server, worker and commands that write at the same time."""
    database = django_settings.DATABASES["default"]
    if database["ENGINE"] != "django.db.backends.sqlite3":
        return []
    options = database.get("OPTIONS", {})
    is_configured = (
        options.get("transaction_mode") == "IMMEDIATE"
        and "wal" in options.get("init_command", "").lower()
        and options.get("timeout", 0) >= 20  # seconds
    )
    message = "SQLite refuses some writes when several processes write at once."
    return [] if is_configured else [Hint(message, hint=SQLITE, id="deploy_manager.W003")]


def _has_broker() -> bool:
    """Return whether the project has a Celery app with a broker.

    An app of the project has been imported with it. Otherwise Celery is not imported only to ask:
    that takes half as long as Django itself, with every command.
    """
    if "celery" not in sys.modules and "CELERY_BROKER_URL" not in os.environ:
        return False
    from deploy_manager import broker

    return broker.has_broker()


def _has_credentials() -> bool:
    return Credential.objects.exists()


def _has_ssh_credentials() -> bool:
    try:
        return Credential.objects.filter(kind=Credential.Kind.LOGIN).exists()
    except DatabaseError:
        return False


def _ssh_key_problems() -> Iterator[CheckMessage]:
    settings = get_settings()
    key = settings.SSH_KEY_FILE
    if key is None:
        if not settings.SSH_AGENT and _has_ssh_servers() and not _has_ssh_credentials():
            message = "There are servers that need SSH, but no key is set."
            yield Hint(message, hint=SSH_KEY, id="deploy_manager.W004")
    elif not key.is_file():
        message = f"There is no key {key}."
        hint = f"Create it where the worker runs: ssh-keygen -t ed25519 -N '' -f {key}"
        yield Hint(message, hint=hint, id="deploy_manager.W005")
    # By the rule of ssh, which refuses a key that others can read.
    elif stat.S_IMODE(key.stat().st_mode) & 0o077:
        message = f"The key {key} is readable by others."
        yield Hint(message, hint=f"chmod 600 {key}", id="deploy_manager.W006")


def _has_ssh_servers() -> bool:
    try:
        return Server.objects.filter(connection=Server.Connection.SSH).exists()
    except DatabaseError:  # no database, or not migrated yet
        return False
