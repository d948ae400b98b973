"""Settings of the example project: no server to install, and all data in one folder."""

import os
import secrets
from pathlib import Path

from deploy_manager.sealing import add_key

BASE_DIR = Path(__file__).parent
VAR = Path(os.environ.get("DEPLOY_MANAGER_DEMO_DIR", BASE_DIR / "var"))
VAR.mkdir(parents=True, exist_ok=True)


def secret_key() -> str:
    """Return the key of this installation, created on first use."""
    file = VAR / "secret-key"
    if not file.exists():
        # Before it has content: nobody else may read it, not even for a moment.
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(50))
    return file.read_text()


SECRET_KEY = os.environ.get("SECRET_KEY") or secret_key()
# HTTPS=1 is for a manager behind a web server with a certificate: what a deployment needs at least.
HTTPS = os.environ.get("HTTPS") == "1"
DEBUG = not HTTPS and os.environ.get("DEBUG", "1") == "1"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")
ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
USE_TZ = True
TIME_ZONE = os.environ.get("TZ", "UTC")
LANGUAGES = [("en", "English"), ("fr", "Français")]
STATIC_URL = "/static/"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "guardian",
    "deploy_manager",
    "example_project",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
GUARDIAN_AUTO_PREFETCH = True  # all rights of a user in two queries
ANONYMOUS_USER_NAME = None
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "deploy_manager.sqlite3",
        # Web server, worker and commands write at the same time.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;",
        },
    }
}

# The folder is the broker: see example_project/celery.py.
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "embedded://")
if CELERY_BROKER_URL == "embedded://":
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(VAR / "broker")}

# Wakes workers, replaces silent ones, starts what is due.
CELERY_BEAT_SCHEDULE = {
    "deploy_manager": {
        "task": "deploy_manager.reconcile",
        "schedule": 5.0,
        "options": {"expires": 5},  # a worker that was busy need not do it several times
    },
}
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR / "beat")

# The demo is web server and worker in one: both have the key for secrets.
secrets_keys = VAR / "secrets-keys"
if not secrets_keys.exists():
    add_key(secrets_keys)

DEPLOY_MANAGER = {
    "SECRETS_KEY_FILE": secrets_keys,
    "CACHE": VAR / "cache",
    # The demo's servers are folders of this machine.
    "LOCAL_SERVERS": True,
    # The demo's own folder holds all that is known, unless an address is named.
    "ADVISORIES": [os.environ.get("OSV_URL") or VAR / "advisories"],
}
if key := os.environ.get("SSH_KEY_FILE"):
    DEPLOY_MANAGER["SSH_KEY_FILE"] = Path(key)
