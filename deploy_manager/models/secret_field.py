"""A column for a secret: written in plain once, stored sealed, read as what can't be read."""

from typing import TYPE_CHECKING, Any

from django.db import models

from deploy_manager.sealing import Sealed, Secret, seal

if TYPE_CHECKING:
    _TextField = models.TextField[Secret | Sealed | None, Sealed | None]
else:
    _TextField = models.TextField


class SecretField(_TextField):
    """Takes a Secret, which is sealed as it is written, or a Sealed; gives a Sealed, or None.

    A plain text is refused, also in `update` and `bulk_create`: whoever writes one by mistake must
    not find it readable in the table. A dump of the rows has sealed values, and loads them.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"null": True, "blank": True, "editable": False, **options})

    def from_db_value(self, value: str | None, *_: Any) -> Sealed | None:
        return Sealed.stored(value) if value else None

    def to_python(self, value: Any) -> Any:
        return Sealed.read(value) if isinstance(value, str) and value else value or None

    def get_prep_value(self, value: Any) -> str | None:
        """Raises SecretUnreadable for a plain text, ConfigurationError without a key."""
        if isinstance(value, Secret):
            return seal(value).text if value.value else None
        if isinstance(value, str) and value:
            return Sealed.read(value).text
        # Read again: one that is not sealed must not be stored as if it were.
        return Sealed.read(value.text).text if isinstance(value, Sealed) else None

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj)) or ""
