"""Rotation: every secret of every table is sealed anew with the current key, one row at a time.

It may be killed and run again at any moment, while values are read and changed: each row is
replaced by a conditional UPDATE, so that what somebody entered meanwhile stays.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.apps import apps
from django.db import models
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError, SecretUnreadable
from deploy_manager.messages import Message
from deploy_manager.models.secret_field import SecretField
from deploy_manager.sealing import (
    FORMAT,
    Sealed,
    current_public_key,
    id_of,
    private_keys,
    public_text,
)

AT_A_TIME = 200


@dataclass
class Rotation:
    """What was done, and what could not be."""

    sealed: int = 0
    changed: int = 0
    """How many were changed by somebody else at the same moment: looked at again."""

    unreadable: list[Message] = field(default_factory=list)


@dataclass(frozen=True)
class KeyUse:
    """How many secrets a key has sealed."""

    key_id: str
    secrets: int
    is_current: bool
    is_in_file: bool


def secret_fields() -> Iterator[tuple[type[models.Model], SecretField]]:
    """Yield every column of secrets, of whichever app."""
    for model in apps.get_models():
        if model._meta.proxy:
            continue
        for each in model._meta.local_concrete_fields:
            if isinstance(each, SecretField):
                yield model, each


def rotate() -> Rotation:
    """Seal anew what an older key has sealed. Raises ConfigurationError if no key is current."""
    require_one_current_key()
    done = Rotation()
    for model, column in secret_fields():
        _rotate_column(model, column.name, done)
    return done


def require_one_current_key() -> None:
    """Raise ConfigurationError if the settings name another key than the first of the file."""
    first = private_keys()[0].public_key
    if id_of(first) != id_of(current_public_key()):
        raise ConfigurationError(
            _(
                "SECRETS_PUBLIC_KEY is %(old)s, but the first key of %(path)s is %(new)s: set"
                ' SECRETS_PUBLIC_KEY to "%(public)s", here and for the web server.'
            ),
            old=id_of(current_public_key()),
            new=id_of(first),
            path=get_settings().SECRETS_KEY_FILE,
            public=public_text(first),
        )


def keys_in_use() -> list[KeyUse]:
    """Return which keys have sealed what, the current one first. Raises ConfigurationError."""
    current = id_of(current_public_key())
    known = [id_of(key.public_key) for key in private_keys()]
    counted: Counter[str] = Counter()
    for model, column in secret_fields():
        found = model._base_manager.exclude(**{f"{column.name}__isnull": True})
        counted.update(
            value.key_id for value in found.values_list(column.name, flat=True).iterator()
        )
    names = dict.fromkeys([current, *known, *sorted(counted)])
    return [KeyUse(each, counted[each], each == current, each in known) for each in names]


def _rotate_column(model: type[models.Model], name: str, done: Rotation) -> None:
    current = f"{FORMAT}:{id_of(current_public_key())}:"
    rows = model._base_manager.exclude(**{f"{name}__isnull": True}).order_by("pk")
    last = None
    while True:
        due = rows if last is None else rows.filter(pk__gt=last)
        # Read anew each time: what was changed since is not touched.
        some = list(
            due.exclude(**{f"{name}__startswith": current}).values_list("pk", name)[:AT_A_TIME]
        )
        if not some:
            return
        for pk, value in some:
            _rotate_value(model, name, pk, value, done)
            last = pk


def _rotate_value(
    model: type[models.Model], name: str, pk: object, value: Sealed, done: Rotation
) -> None:
    try:
        # Twice at most: what was changed meanwhile is sealed by a current key, or by the web
        # server's, which may be older.
        for _attempt in range(2):
            anew = value.sealed_anew()
            if model._base_manager.filter(pk=pk, **{name: value}).update(**{name: anew}):
                done.sealed += 1
                return
            done.changed += 1
            now = model._base_manager.filter(pk=pk).values_list(name, flat=True).first()
            if not isinstance(now, Sealed) or now.is_current:
                return
            value = now
    except SecretUnreadable as error:
        row = model._base_manager.filter(pk=pk).first()
        done.unreadable.append(
            Message(
                "%(kind)s %(row)s (%(field)s): %(why)s",
                kind=model._meta.verbose_name,
                row=row,
                field=name,
                why=error.message,
            )
        )
