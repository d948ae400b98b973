"""Settings of the test suite: SQLite, or PostgreSQL where DATABASE_URL says so."""

import json
import os
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_scratch = Path(tempfile.gettempdir()) / f"deploy_manager-tests-{os.getpid()}"

SECRET_KEY = os.environ.get("TEST_SECRET_KEY", "only for tests")
USE_TZ = True
ROOT_URLCONF = "tests.urls"
ALLOWED_HOSTS = ["*"]
STATIC_URL = "/static/"
LANGUAGES = [("en", "English"), ("fr", "Français")]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "guardian",
    "deploy_manager",
    *json.loads(os.environ.get("TEST_APPS", "[]")),
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
# All rights of a user in two queries, as docs/rights.md has it.
GUARDIAN_AUTO_PREFETCH = True
ANONYMOUS_USER_NAME = None
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, Any]
if url := os.environ.get("DATABASE_URL"):
    parts = urlsplit(url)
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.lstrip("/"),
            "USER": parts.username or "",
            "PASSWORD": parts.password or "",
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
        }
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": _scratch.with_suffix(".sqlite3"),
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL;",
            },
            "TEST": {"NAME": _scratch.with_suffix(".test.sqlite3")},
        }
    }

if name := os.environ.get("TEST_DATABASE"):
    # A worker of a test works on that test's own database.
    DATABASES["default"]["NAME"] = name

# One that all processes of all tests have: what a test seals a worker of its own opens.
_keys = Path(tempfile.gettempdir()) / f"deploy_manager-tests-of-{os.getuid()}.keys"
if not _keys.exists():
    _beside = _keys.with_name(f"{_keys.name}.{os.getpid()}")
    with open(os.open(_beside, os.O_WRONLY | os.O_CREAT, 0o600), "w") as _file:
        _file.write(b64encode(bytes(range(32))).decode())
    _beside.replace(_keys)

DEPLOY_MANAGER: dict[str, Any] = {
    "CACHE": _scratch / "cache",
    "LOCAL_SERVERS": True,
    "SECRETS_KEY_FILE": _keys,
    **json.loads(os.environ.get("TEST_DEPLOY_MANAGER", "{}")),
}
CELERY_BEAT_SCHEDULE = {
    "deploy_manager": {
        "task": "deploy_manager.reconcile",
        "schedule": float(os.environ.get("TEST_RECONCILE_EVERY", "5")),
        "options": {"expires": 5},
    }
}
CELERY_BROKER_URL, CELERY_BROKER_TRANSPORT_OPTIONS = json.loads(
    os.environ.get("TEST_BROKER", '["memory://", {}]')
)
