"""The field of a moment that every page and command can show."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    # The stubs know by the class what is null: of a subclass they would know nothing.
    from django.db.models import DateTimeField as MomentField
else:

    class MomentField(models.DateTimeField):
        """Django's, but what is read exists in every time zone, with room to count from it.

        West or east of Greenwich, some hours of the first and the last year that Python has lie
        outside of them, and Django's own pages fail by them, too. So these years are read as their
        neighbours.
        """

        def from_db_value(self, value: datetime | None, *_query: object) -> datetime | None:
            if value is None or datetime.min.year < value.year < datetime.max.year:
                return value
            # Neither these years nor their neighbours are leap years.
            inward = 1 if value.year == datetime.min.year else -1
            return value.replace(year=value.year + inward)

        def deconstruct(self) -> tuple[str, str, list[object], dict[str, object]]:
            # In the database it is the same: migrations need not know of it.
            name, _path, args, kwargs = super().deconstruct()
            return name, "django.db.models.DateTimeField", args, kwargs


__all__ = ["MomentField"]
