"""Rows as forms would take them: looked at again before anything is done with what they hold.

Rows are also written by `update()`, `loaddata` and SQL. So whatever becomes a path, a word of a
command or a line of a file is checked once more by the validators of its own field, wherever rows
turn into plain facts: no server and no repository was reached yet.
"""

from collections.abc import Collection
from functools import lru_cache

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils.translation import gettext as _

from deploy_manager.exceptions import InvalidRow, PinError
from deploy_manager.models import Environment, HostRun, Release
from deploy_manager.requirements.reading import read_pins

_RESUME_CURSOR = frozenset({"command", "own", "out", "err"})


def check_row(row: models.Model, *names: str) -> None:
    """Look at the fields of these names, or at all that do not lead to other rows.

    Raises InvalidRow, which names the row, each field, and what is wrong with it.
    """
    fields = row._meta.fields
    if names:
        others = {field.name for field in fields} - set(names)
    else:
        others = {field.name for field in fields if field.is_relation or field.primary_key}
    try:
        row.clean_fields(exclude=others)
    except ValidationError as error:
        raise _invalid(row, error) from None


def check_environment(environment: Environment, without: Collection[str] = ()) -> None:
    """Look at an environment, its project, and what its fields say together. Raises InvalidRow.

    Fields `without` which it does are not looked at.
    """
    check_row(environment.project)
    fields = environment._meta.fields
    own = (each.name for each in fields if not each.is_relation and not each.primary_key)
    check_row(environment, *(name for name in own if name not in without))
    try:
        environment.clean()
    except ValidationError as error:
        raise _invalid(environment, error) from None


def check_release(release: Release | None) -> None:
    """Look at a release, and whether its lock is exact pins: that goes to servers as it is.

    Raises InvalidRow.
    """
    if release is None:
        return
    check_row(release)
    if why := _why_no_pins(release.lock.text):
        raise InvalidRow(
            _("The pins %(lock)s of release %(release)s: %(why)s")
            % {"lock": release.lock, "release": release, "why": why}
        )


@lru_cache(maxsize=64)
def _why_no_pins(lock: str) -> str:
    try:
        read_pins(lock) if lock.strip() else ()
    except PinError as error:
        return str(error)
    return ""


def check_host_run(run: HostRun) -> None:
    """Look at what a server's part of a deployment goes on from. Raises InvalidRow."""
    if run.release_before:
        check_row(run.release_before)
    for step in run.steps.all():
        if not _is_resume_cursor(step.resume_cursor):
            raise InvalidRow(
                _("Step %(step)s of %(server)s does not say how much of its output is stored.")
                % {"step": step.number, "server": run.server_name}
            )


def _is_resume_cursor(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() <= _RESUME_CURSOR
        and all(type(number) is int and number >= 0 for number in value.values())
    )


def _invalid(row: models.Model, error: ValidationError) -> InvalidRow:
    told = [
        f"{_label(row, name)}: {' '.join(messages)}"
        for name, messages in sorted(error.message_dict.items())
    ]
    return InvalidRow(
        _("%(kind)s %(row)s can't be used as it is. %(problems)s Mend it in the admin.")
        % {"kind": row._meta.verbose_name, "row": row, "problems": " ".join(told)}
    )


def _label(row: models.Model, name: str) -> str:
    if name == NON_FIELD_ERRORS:
        return str(row._meta.verbose_name)
    labels = {field.name: field.verbose_name for field in row._meta.fields}
    return f"{labels[name]} ({name})"
