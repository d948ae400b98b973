"""Row checks: what forms check is checked again before a row's values are used.

Rows are also written by `update()`, `loaddata` and SQL. So every value that becomes a path, a word
of a command or a line of a file is checked once more by the validators of its field, before any
server or repository is reached.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import InvalidRow, PinError
from deploy_manager.messages import Message, join
from deploy_manager.models import Credential, Environment, HostRun, Release
from deploy_manager.models.message_field import MessageField
from deploy_manager.requirements.reading import read_pins

WRONG_KIND: dict[type, Any] = {
    list: gettext_lazy("Enter a JSON list."),
    dict: gettext_lazy("Enter a JSON object."),
}

# The fields of hosts.guarded.ResumeCursor, which takes no others.
_RESUME_CURSOR = frozenset({"command", "own", "out", "err"})


def check_row(row: models.Model, *names: str) -> None:
    """Check the fields of these names, or all that are not relations.

    Raises InvalidRow, which names the row, each field, and what is wrong with it.
    """
    fields = row._meta.fields
    if names:
        known = {field.name for field in fields}
        # A recipe of the project's own names the field that switches it on.
        if unknown := set(names) - known:
            raise InvalidRow(
                _("%(kind)s %(row)s has no field %(names)s: correct the recipe that names it."),
                kind=row._meta.verbose_name,
                row=row,
                names=", ".join(map(repr, sorted(unknown))),
            )
        others = known - set(names)
    else:
        others = {field.name for field in fields if field.is_relation or field.primary_key}
    try:
        row.clean_fields(exclude=others)
        _check_blank_json(row, [field for field in fields if field.name not in others])
    except ValidationError as error:
        raise _invalid(row, error) from None


def _check_blank_json(row: models.Model, fields: "Iterable[models.Field[Any, Any]]") -> None:
    """Refuse null, "" and {} where there has to be a list, and the like. Raises ValidationError.

    Django runs no validators on blank values. Forms turn what was left blank into an empty list or
    object, so that nothing else has to expect null.
    """
    errors: dict[str, ValidationError] = {}
    for field in fields:
        is_plain = isinstance(field, models.JSONField) and not isinstance(field, MessageField)
        value = getattr(row, field.attname)
        if is_plain and field.has_default() and not (value is None and field.null):
            try:
                _check_kind(field, value)
            except ValidationError as error:
                errors[field.name] = error
    if errors:
        raise ValidationError(dict(errors))


def _check_kind(field: "models.Field[Any, Any]", value: object) -> None:
    kind = type(field.get_default())
    if isinstance(value, kind):
        return
    for validator in field.validators:
        validator(value)  # its own words say more, with an example
    raise ValidationError(WRONG_KIND[kind])


def check_environment(environment: Environment, without: Collection[str] = ()) -> None:
    """Check an environment, its project, and its fields together. Raises InvalidRow.

    The fields named in `without` are not checked.
    """
    check_row(environment.project)
    fields = environment._meta.fields
    own = (each.name for each in fields if not each.is_relation and not each.primary_key)
    check_row(environment, *(name for name in own if name not in without))
    try:
        environment.clean()
    except ValidationError as error:
        raise _invalid(environment, error) from None


def check_credential(credential: Credential) -> None:
    """Check a credential, and its fields together. Raises InvalidRow."""
    check_row(credential)
    try:
        credential.clean()
    except ValidationError as error:
        raise _invalid(credential, error) from None


def check_release(release: Release | None) -> None:
    """Check a release, and that its lock file holds exact pins: it is sent to servers as it is.

    Raises InvalidRow.
    """
    if release is None:
        return
    check_row(release)
    if why := _why_no_pins(release.lock.text):
        raise InvalidRow(
            _("The pins %(lock)s of release %(release)s: %(why)s"),
            lock=release.lock,
            release=release,
            why=why,
        )


@lru_cache(maxsize=64)  # each shard's worker checks the same lock file again
def _why_no_pins(lock: str) -> Message:
    try:
        read_pins(lock) if lock.strip() else ()
    except PinError as error:
        return error.message
    return Message()


def check_host_run(run: HostRun) -> None:
    """Check the state from which a server's part of a deployment continues. Raises InvalidRow."""
    if run.release_before:
        check_row(run.release_before)
    for step in run.steps.all():
        cursor = step.resume_cursor
        is_cursor = (
            isinstance(cursor, dict)
            and cursor.keys() <= _RESUME_CURSOR
            # type(), since True is an instance of int, but JSON's true is no position.
            and all(type(number) is int and number >= 0 for number in cursor.values())
        )
        if not is_cursor:
            raise InvalidRow(
                _("Step %(step)s of %(server)s does not say how much of its output is stored."),
                step=step.number,
                server=run.server_name,
            )


def _invalid(row: models.Model, error: ValidationError) -> InvalidRow:
    labels = {
        each.name: Message("%(label)s (%(name)s)", label=each.verbose_name, name=each.name)
        for each in row._meta.fields
    }
    labels[NON_FIELD_ERRORS] = Message(row._meta.verbose_name or "")
    problems = (
        Message("%(field)s: %(why)s", field=labels[name], why=join(map(_message_of, errors), " "))
        for name, errors in sorted(error.error_dict.items())
    )
    return InvalidRow(
        _("%(kind)s %(row)s can't be used as it is. %(problems)s Fix it in the admin."),
        kind=row._meta.verbose_name,
        row=row,
        problems=join(problems, " "),
    )


def _message_of(error: ValidationError) -> Message:
    # None only for one that has others in it, and these are what is shown here.
    text: Any = error.message
    return Message(text, **(error.params or {}))
