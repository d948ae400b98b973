"""The Celery app of the tests; `tests/parts/worker.py` tells it its broker."""

import os

from celery import Celery

import deploy_manager.embedded  # noqa: F401  the broker embedded://

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
app = Celery("tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
