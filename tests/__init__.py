"""Behaviours of deploy_manager, with real parts."""

from tests.celery_app import app as celery_app

__all__ = ["celery_app"]
