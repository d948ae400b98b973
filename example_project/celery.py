"""The Celery app of the example project, with a folder as its broker."""

import os

from celery import Celery

import deploy_manager.embedded  # noqa: F401  registers the broker embedded://

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
app = Celery("example_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
