"""Flushing the database after a test, without making each content type and permission anew.

Django's flush sends post_migrate, whose receivers ask what is missing model by model: 0.1 s of each
test with transactions. Here the rows that they would make are kept once, and written back at once.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Set up as pytest-django does; flush writes back what was there from the start."""
    with django_db_blocker.unblock():
        kept = [list(model._base_manager.order_by("pk")) for model in (ContentType, Permission)]

    def write_back(verbosity: int, interactive: bool, db: str, **options: Any) -> None:
        # With the numbers that they had, which caches may hold.
        for rows in kept:
            type(rows[0])._base_manager.using(db).bulk_create(rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "emit_post_migrate_signal", write_back)
        yield
