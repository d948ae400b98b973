"""The API as programs see it: a caller with a token, and the schema that answers have to fit."""

import functools
from collections.abc import Sequence
from typing import Any

import schemathesis
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema

from deploy_manager.api.main import api
from deploy_manager.models import Environment, Token
from deploy_manager.models.tokens import Scope

BASE = "/deploy/api/v1/"
PROBLEM = "application/problem+json"


class Caller:
    """Sends requests with a token, or with none."""

    def __init__(self, secret: str = "", **headers: str) -> None:
        bearer = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._client = Client(headers=bearer | headers, raise_request_exception=False)

    def get(self, path: str, **query: Any) -> Any:
        return self._client.get(BASE + path, query)

    def post(self, path: str, body: Any = None, key: str = "", **headers: str) -> Any:
        sent = {"Idempotency-Key": key} if key else {}
        return self._client.post(
            BASE + path, body or {}, content_type="application/json", headers=sent | headers
        )

    def send(self, path: str, body: bytes | str, content_type: str = "application/json") -> Any:
        """Send a body as it is."""
        return self._client.post(BASE + path, body, content_type=content_type)

    def do(self, method: str, path: str) -> Any:
        return self._client.generic(method, BASE + path)


def caller(
    user: User,
    *environments: Environment,
    scopes: Sequence[str] = tuple(Scope.values),
    **fields: Any,
) -> Caller:
    """Write a token of a user, and return who sends it."""
    _token, secret = Token.objects.issue(
        user, environments, name="ci", scopes=list(scopes), **fields
    )
    return Caller(secret)


def problem_of(answer: Any, status: int) -> dict[str, Any]:
    """Return what a refused request was told."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == PROBLEM
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    return told


@functools.cache
def openapi() -> BaseSchema:
    """The schema as programs get it, and the API behind it, in this process."""
    found = schemathesis.openapi.from_dict(api.get_openapi_schema())
    found.app = WSGIHandler()
    return found


def operations() -> dict[str, APIOperation[Any, Any, Any, Any]]:
    """Every operation by its id."""
    results = list(openapi().get_all_operations())
    found = [each.ok() for each in results if isinstance(each, Ok)]
    assert len(found) == len(results)
    return {each.definition.raw["operationId"]: each for each in found}
