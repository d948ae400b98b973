"""A Django project with deploy_manager in it: the demo, and a pattern for your own."""

from example_project.celery import app as celery_app

__all__ = ["celery_app"]
