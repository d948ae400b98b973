"""The field that keeps a message: as JSON, so that rows can be found by its reason."""

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.expressions import Expression
from django.db.models.fields.json import KeyTransform
from django.db.models.query_utils import DeferredAttribute

from deploy_manager.messages import Message

if TYPE_CHECKING:
    # Only the stubs' class takes parameters: Django's own can't be subscripted.
    _JSONField = models.JSONField[Message | str, Any]
else:
    _JSONField = models.JSONField


class _Attribute(DeferredAttribute):
    """Whatever is assigned is read as a message."""

    def __set__(self, row: models.Model, value: object) -> None:
        # A reference to another column, as F(), stays what it is until the row is written.
        is_one = value is None or isinstance(value, (str, list, dict, Message))
        row.__dict__[self.field.attname] = _message(value) if is_one else value


class MessageField(_JSONField):
    """A message, blank by default; `filter(message__0__code="host_unreachable")` finds it.

    Each text in it is at most `longest` characters long, and the passwords in its URLs are masked.
    """

    description = "A message"
    descriptor_class = _Attribute

    def __init__(self, *args: Any, longest: int | None = None, **kwargs: Any) -> None:
        self.longest = longest
        kwargs.setdefault("default", Message)
        kwargs.setdefault("blank", True)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        if self.longest is not None:
            kwargs["longest"] = self.longest
        return name, path, args, kwargs

    def from_db_value(self, value: Any, expression: Expression, connection: Any) -> Any:
        """Return the message; one that nobody could have written is shown as it is."""
        try:
            return _message(super().from_db_value(value, expression, connection))
        except (ValueError, RecursionError):  # numbers too long, lists too deep
            return Message(str(value)[:1000])

    def to_python(self, value: Any) -> Message:
        return _message(value)

    def get_prep_value(self, value: Any) -> Any:
        if value is None or isinstance(value, (str, Message)):
            return _message(value).as_json(self.longest)
        return super().get_prep_value(value)

    def get_transform(self, name: str) -> Any:
        # What a key leads to is not a message: without this, a code would be compared as one.
        return partial(KeyTransform, name, output_field=models.JSONField())

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        # JSONField tries to write the value as JSON: a Message itself is none.
        super().validate(_message(value).as_json(), model_instance)

    def value_to_string(self, obj: models.Model) -> Any:
        return _message(self.value_from_object(obj)).as_json(self.longest)


def _message(value: Any) -> Message:
    return value if isinstance(value, Message) else Message.of_json(value)
