"""Auditing: every change of a row that decides something becomes an event, whoever makes it.

Signals note what forms, commands, imports and fixtures write. Who does it is known by the context:
a request of the admin, a command; else the account of the process. What is written by `update` or
`bulk_create` sends no signal: whoever does so records it by `record`.
"""

import csv
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.utils.crypto import salted_hmac

from deploy_manager.logs import mask_text, plain
from deploy_manager.models import Approval, Deployment, Environment, Upgrade
from deploy_manager.models.audit import AuditEvent, AuditEventQuerySet
from deploy_manager.models.message_field import MessageField
from deploy_manager.models.secret_field import SecretField
from deploy_manager.requester import requester_name
from deploy_manager.sealing import Sealed
from deploy_manager.signals import deployment_requested

logger = logging.getLogger("deploy_manager.audit")
"""Each event, too, as a line of JSON: for whoever keeps logs where this database's owner can't
change them."""

ADDED, CHANGED, DELETED = "added", "changed", "deleted"
REQUESTED, CANCELLED = "requested", "cancelled"
LONGEST_VALUE = 2000

FORMULA = (
    *("=", "+", "-", "@", "\t", "\r", "\n"),
    # For spreadsheets in Japanese.
    *("\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}"),
    *("\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}"),
)
"""What a spreadsheet takes for the beginning of a formula: OWASP, CSV injection."""

NOT_AUDITED = {
    "advisory": "what the world says of packages",
    "auditedversion": "what the world says of packages",
    "indexedpackage": "what the world says of packages",
    "installedpackage": "what was seen on servers",
    "seenprocess": "what was seen on servers",
    "watch": "what was seen on servers",
    "hostrun": "part of a deployment, which is history itself",
    "shard": "part of a deployment, which is history itself",
    "step": "part of a deployment, which is history itself",
    "logchunk": "part of a deployment, which is history itself",
    "deployment": "recorded when it is requested; its own row says how it went",
    "release": "made by deployments; marks are recorded where they are set",
    "lockfile": "immutable, named by its hash",
    "upgradestage": "recorded when it is requested; its own row says how it went",
    "upgrade": "recorded with each of its stages, which belong to one environment each",
    "policyrun": "history of a policy",
    "resolution": "a question and its answer, which change nothing",
    "confirmedplan": "what was shown, kept with what it is confirmed for",
    "problem": "what reconcile could not do",
    "requirement": "recorded as a list when it changes, not row by row",
    "auditevent": "itself",
    "commitstatus": "what a CI says of commits",
    "idempotencykey": "answers to requests, which have events of their own",
    "webhookdelivery": "what a forge sent; what came of it has events of its own",
    "outgoingdelivery": "messages about deployments, which are history themselves",
}
"""Tables of ours whose rows make no events, and why."""

_OF_ACCOUNTS = {"last_login"}
"""Columns of accounts that say nothing about rights."""

GUARDIAN = "guardian"
"""django-guardian, whose tables give people rights on single rows."""

_BEFORE = "_audited_before"


@dataclass(frozen=True)
class Actor:
    """Who does something, by which way, and from where."""

    who: str
    source: str
    user_id: int | None = None
    address: str = ""


_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)
_is_silent: ContextVar[bool] = ContextVar("is_silent", default=False)


def current_actor() -> Actor:
    """Return who acts now; outside of requests and commands, the account of this process."""
    program = os.path.basename(sys.argv[0] if sys.argv else "")
    return _actor.get() or Actor(requester_name(), program or "python")


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Let what is done in a block be this actor's."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


@contextmanager
def silently() -> Iterator[None]:
    """Note no rows in a block: for whoever records what it does as one event."""
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


def record(
    action: str,
    row: models.Model,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    deployment: Deployment | None = None,
) -> AuditEvent:
    """Add an event about a row, in the transaction of the change itself."""
    actor = current_actor()
    environment = _environment_of(row)
    event = AuditEvent.objects.create(
        who=actor.who[:200],
        user_id=actor.user_id,
        source=actor.source[:100],
        address=actor.address[:100],
        action=action,
        kind=row._meta.model_name or "",
        key=str(row.pk or "")[:50],
        name=plain(mask_text(str(row)))[:300],
        environment_key=environment,
        before=dict(before or {}),
        after=dict(after or {}),
        deployment_number=deployment.pk if deployment else None,
    )
    logger.info(json.dumps(event.as_data, ensure_ascii=True))
    return event


def record_change(
    row: models.Model, before: Mapping[str, Any], after: Mapping[str, Any]
) -> AuditEvent:
    """Add the event that a row changed, with what differs."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return record(
        CHANGED,
        row,
        before={name: before.get(name) for name in changed},
        after={name: after.get(name) for name in changed},
    )


@contextmanager
def noting(rows: "models.QuerySet[Any]", *columns: str) -> Iterator[None]:
    """Note what an UPDATE of these rows in the block changes: it sends no signal.

    `columns` count besides those that forms have.
    """
    with transaction.atomic():
        before = {row.pk: _values_with(row, columns) for row in rows.all()}
        yield
        # By their keys: changed rows may not be among those that were asked for any more.
        for row in rows.model._base_manager.filter(pk__in=before):
            if (after := _values_with(row, columns)) != before[row.pk]:
                record_change(row, before[row.pk], after)


def _values_with(row: models.Model, columns: Sequence[str]) -> dict[str, Any]:
    more = {name: _shown(row._meta.get_field(name), row) for name in columns}  # type: ignore[arg-type]
    return values_of(row) | {name: value for name, value in more.items() if value}


def note_added(rows: Iterable[models.Model]) -> None:
    """Note rows that were written by `bulk_create`, which sends no signal."""
    for row in rows:
        record(ADDED, row, after=values_of(row))


def fingerprint(value: object) -> str:
    """Return what tells two values apart, and nothing else of them."""
    return salted_hmac("deploy_manager.audit", json.dumps(value, default=str)).hexdigest()[:12]


def values_of(row: models.Model) -> dict[str, Any]:
    """Return what decides something of a row, as the audit shows it; secrets by fingerprints."""
    return {
        field.name: shown
        for field in row._meta.concrete_fields
        if _counts(field) and (shown := _shown(field, row)) not in (None, "", [], {})
    }


def _counts(field: "models.Field[Any, Any]") -> bool:
    if isinstance(field, SecretField):
        return True
    # What can't be edited was seen, or counts something; but owners lend their rights.
    is_said = field.editable or field.name == "owner_name"
    return is_said and not field.primary_key and field.name not in _OF_ACCOUNTS


def _shown(field: "models.Field[Any, Any]", row: models.Model) -> Any:
    value = field.value_from_object(row)
    if isinstance(field, SecretField):
        return f"secret {value.fingerprint}" if isinstance(value, Sealed) else value and "secret"
    if field.name == "password":
        return f"secret {fingerprint(value)}"
    if field.name == "variables" and isinstance(value, dict):
        return {name: f"value {fingerprint(each)}" for name, each in value.items()}
    if isinstance(field, models.ForeignKey) and value is not None:
        return _name_of(field, row, value)
    if isinstance(field, MessageField):
        return mask_text(str(value))[:LONGEST_VALUE]
    if isinstance(field, models.JSONField):
        return _storable(value)
    if value is None or isinstance(value, bool | int):
        return value
    return mask_text(str(value))[:LONGEST_VALUE]


def _storable(value: Any) -> Any:
    """Return a JSON value in letters that every database accepts; a text in place of a long one."""
    text = mask_text(json.dumps(value, ensure_ascii=False, default=str))
    # PostgreSQL's JSON has no NUL, which is escaped here.
    text = text.replace("\\u0000", "\N{REPLACEMENT CHARACTER}")
    try:
        return json.loads(text) if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE]
    except ValueError:  # masked in the middle of an escape
        return text


def _name_of(field: "models.ForeignKey[Any, Any]", row: models.Model, key: Any) -> str:
    try:
        return f"{getattr(row, field.name)} (#{key})"[:LONGEST_VALUE]
    except models.ObjectDoesNotExist:
        return f"#{key}"


def _environment_of(row: models.Model) -> int | None:
    if isinstance(row, Environment):
        return row.pk
    if isinstance(row, Approval):
        return row.deployment.environment_id
    if row._meta.app_label == GUARDIAN:
        # A right on one row: its key is a text there, as it may be of any table.
        is_of_one = row.content_type.model_class() is Environment  # type: ignore[attr-defined]
        return int(row.object_pk) if is_of_one else None  # type: ignore[attr-defined]
    key = getattr(row, "environment_id", None)
    return key if isinstance(key, int) else None


# Signals


def _note_before(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    if _is_silent.get() or instance._state.adding:
        return
    stored = sender._base_manager.filter(pk=instance.pk).first()
    setattr(instance, _BEFORE, values_of(stored) if stored else {})


def _note_saved(
    sender: type[models.Model], instance: models.Model, created: bool, **_: Any
) -> None:
    before: dict[str, Any] = instance.__dict__.pop(_BEFORE, {})
    if _is_silent.get():
        return
    if created:
        record(ADDED, instance, after=values_of(instance))
        return
    # Read again: a value that was assigned may be stored as another.
    stored = sender._base_manager.filter(pk=instance.pk).first()
    after = values_of(stored) if stored else {}
    if before != after:
        record_change(instance, before, after)


def _note_deleted(sender: type[models.Model], instance: models.Model, **_: Any) -> None:
    if not _is_silent.get():
        record(DELETED, instance, before=values_of(instance))


def _note_members(
    sender: type[models.Model],
    instance: models.Model,
    action: str,
    model: type[models.Model],
    pk_set: set[Any] | None,
    **_: Any,
) -> None:
    """Note groups and permissions that are given or taken away."""
    if _is_silent.get() or action not in ("post_add", "post_remove", "pre_clear"):
        return
    table = str(sender._meta.model_name)
    if action == "pre_clear":
        record_change(instance, {table: "all"}, {table: ""})
        return
    if pk_set:
        rows = model._base_manager.filter(pk__in=pk_set)
        names = {table: ", ".join(sorted(map(str, rows)))}
        is_added = action == "post_add"
        record_change(instance, {} if is_added else names, names if is_added else {})


def _note_request(deployment: Deployment, **_: Any) -> None:
    asked = {
        "recipe": deployment.recipe,
        "commit": deployment.commit,
        "arguments": [mask_text(str(each)) for each in deployment.arguments or ()],
        "reason": deployment.reason,
    }
    if deployment.breaks_glass:
        asked["decision"] = Approval.Decision.GLASS.value
    with acting(_requester(deployment)):
        record(REQUESTED, deployment, after=asked, deployment=deployment)


def note_upgrade(upgrade: Upgrade) -> None:
    """Note the request of an upgrade, on each of its environments."""
    with acting(_requester(upgrade)):
        for stage in upgrade.stages.select_related("environment__project"):
            after = {"moves": _storable(stage.moves), "reason": upgrade.reason}
            record(REQUESTED, stage, after=after)


def _requester(asked: Deployment | Upgrade) -> Actor:
    address = current_actor().address
    return Actor(asked.requested_by_name, asked.source, asked.requested_by_id, address)


def audited_models() -> list[type[models.Model]]:
    """Return the tables whose rows make events: ours, and those that give people rights."""
    ours = [
        model
        for model in apps.get_app_config("deploy_manager").get_models()
        if model._meta.model_name not in NOT_AUDITED
    ]
    rights: list[type[models.Model]] = [get_user_model(), Group]
    if apps.is_installed(GUARDIAN):
        rights += [
            model
            for model in apps.get_app_config(GUARDIAN).get_models()
            if model._meta.model_name in ("userobjectpermission", "groupobjectpermission")
        ]
    return [*ours, *rights]


def connect() -> None:
    """Connect the signals; when Django starts."""
    for model in audited_models():
        name = f"audit of {model._meta.label}"
        pre_save.connect(_note_before, model, dispatch_uid=name)
        post_save.connect(_note_saved, model, dispatch_uid=name)
        post_delete.connect(_note_deleted, model, dispatch_uid=name)
    user = get_user_model()
    for members in (
        getattr(user, "groups", None),
        getattr(user, "user_permissions", None),
        Group.permissions,
    ):
        if members is not None:
            name = f"audit of {members.through._meta.label}"
            m2m_changed.connect(_note_members, members.through, dispatch_uid=name)
    deployment_requested.connect(_note_request, dispatch_uid="audit of requests")


# Exports


class _Line:
    """A file that gives back what was written to it."""

    def write(self, text: str) -> str:
        return text


def as_csv(events: AuditEventQuerySet) -> Iterator[bytes]:
    """Yield the rows of a table; a cell that a spreadsheet would calculate begins with a quote."""
    writer = csv.writer(_Line())
    names = list(AuditEvent().as_data)
    yield str(writer.writerow(names)).encode()
    for event in events.in_order():
        cells = (_cell(value) for value in event.as_data.values())
        yield str(writer.writerow(cells)).encode(errors="replace")


def as_json_lines(events: AuditEventQuerySet) -> Iterator[bytes]:
    """Yield an object for each event, on a line of its own."""
    for event in events.in_order():
        yield json.dumps(event.as_data).encode() + b"\n"


def _cell(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value or "")
    return f"'{text}" if text.startswith(FORMULA) else text
