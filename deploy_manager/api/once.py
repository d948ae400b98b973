"""Idempotency: the same request, sent again since its answer was lost, is done once.

A key is written in the transaction of what was requested: a refusal leaves none, and of two
requests at the same moment the second waits, and is answered like the first.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Header

from deploy_manager.api.access import token_of
from deploy_manager.api.answers import created
from deploy_manager.api.problems import invalid
from deploy_manager.api.shapes import Body
from deploy_manager.models import IdempotencyKey
from deploy_manager.models.transactions import brief_transaction

KEPT_FOR = timedelta(days=1)
NAME = "Idempotency-Key"

KEY = Header(  # type: ignore[type-arg]
    "",
    alias=NAME,
    max_length=200,
    pattern=r"^[!-~]*$",
    description="Any text of your own: the same one again gets the same answer, and no second row.",
)


def once(
    request: HttpRequest, key: str, body: Body, act: Callable[[], Callable[[], Mapping[str, Any]]]
) -> HttpResponse:
    """Do what is asked for and answer 201, or repeat the answer that the key has.

    `act` prepares it, outside of any transaction, and returns what writes it and answers.
    """
    asked = _hash_of(request, body)
    if key and (before := _answered(request, key, asked)):
        return before
    write = act()
    if not key:
        return created(write())
    try:
        with transaction.atomic():
            row = _claim(request, key, asked)
            row.status, row.answer = 201, dict(write())
            row.save(update_fields=["status", "answer"])
    except _TakenError:
        return _answered(request, key, asked) or once(request, key, body, act)
    return created(row.answer or {})


class _TakenError(Exception):
    """Another request has the key."""


def _claim(request: HttpRequest, key: str, asked: str) -> IdempotencyKey:
    keys = token_of(request).keys
    keys.filter(created_at__lt=timezone.now() - KEPT_FOR).delete()
    try:
        with brief_transaction():
            return keys.create(key=key, request=asked)
    except IntegrityError:
        raise _TakenError from None


def _answered(request: HttpRequest, key: str, asked: str) -> HttpResponse | None:
    since = timezone.now() - KEPT_FOR
    row = token_of(request).keys.filter(key=key, created_at__gte=since).first()
    if row is None:
        return None
    if row.request != asked:
        text = _("This key was used for another request: take a new one.")
        return invalid("header", NAME, text, "idempotency_key_reused")
    answer = created(row.answer or {})
    answer["Idempotency-Replayed"] = "true"
    return answer


def _hash_of(request: HttpRequest, body: Body) -> str:
    said = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.path}\n{said}".encode()).hexdigest()
