"""A Django project that uses deploy_manager: the demo, and a template for your own project."""

from example_project.celery import app as celery_app

__all__ = ["celery_app"]
