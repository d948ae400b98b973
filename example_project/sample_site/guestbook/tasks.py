"""What workers do: count the entries now and then, for the page's foot."""

import os

from celery import shared_task
from django.core.cache import cache

from guestbook.models import Entry
from guestbook.views import COUNTED


@shared_task
def count() -> None:
    """Keep the number of entries in the cache, with the release of the worker that counted."""
    found = {"entries": Entry.objects.count(), "release": os.environ.get("DEPLOY_RELEASE", "")}
    cache.set(COUNTED, found, timeout=60)
