"""Errors as RFC 9457 has them: `application/problem+json`, never a traceback."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    ValidationError,
)
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.utils.translation import gettext as _
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled
from ninja.errors import ValidationError as InvalidInput

from deploy_manager.exceptions import DeployManagerError
from deploy_manager.logs import log_error

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class WrongMediaTypeError(Exception):
    """The body of a request is not said to be JSON."""


class InvalidValueError(Exception):
    """A value that no schema can refuse."""

    def __init__(self, field: str, detail: str, *, place: str = "body") -> None:
        super().__init__(detail)
        self.field, self.detail, self.place = field, detail, place


def problem(
    status: int,
    detail: object = "",
    code: str = "",
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """Return the answer to a request that was not done."""
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": str(detail),
        "code": code,
    }
    if errors:
        told["errors"] = list(errors)
    return HttpResponse(
        json.dumps(told), status=status, content_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def not_found() -> HttpResponse:
    """Return the one answer for what is not there, and for what may not be seen."""
    return problem(404, _("There is nothing here that you may see."), "not_found")


def no_such_address() -> HttpResponse:
    """Return the answer where there is no operation, which is not for a token to see, or not."""
    text = _("This manager has no such address: is it older than what asks?")
    return problem(404, text, "no_such_address")


def handle_errors(api: NinjaAPI) -> None:
    """Let each error become a problem."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        AuthenticationError: lambda request, error: unauthorized(),
        Throttled: lambda request, error: too_many(error.wait or 1),
        HttpError: _of_http,
        InvalidInput: _of_input,
        InvalidValueError: lambda request, error: invalid(error.place, error.field, error.detail),
        ValidationError: _of_row,
        Http404: lambda request, error: not_found(),
        PermissionDenied: _of_rights,
        DeployManagerError: _of_refusal,
        RequestDataTooBig: _of_size,
        SuspiciousOperation: _of_request,
        UnreadablePostError: _of_request,
        OperationalError: unavailable,
        InterfaceError: unavailable,
        Exception: _of_bug,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def unauthorized() -> HttpResponse:
    """Return the one answer to a request without a token that is good."""
    detail = _("Send a token that is valid: Authorization: Bearer dm_…")
    return problem(401, detail, "unauthorized", headers={"WWW-Authenticate": "Bearer"})


def too_many(seconds: float) -> HttpResponse:
    detail = _("Too many requests: wait, and try again.")
    wait = str(max(1, int(seconds)))
    return problem(429, detail, "too_many_requests", headers={"Retry-After": wait})


def invalid(place: str, field: str, detail: str, code: str = "") -> HttpResponse:
    told = {"in": place, "field": field, "detail": detail}
    return problem(422, detail, code or "invalid_input", errors=[told])


def unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return that the database is away; why is for the log."""
    log_error(logger, "The database could not be asked for %s", request.path)
    detail = _("The database can't be reached: try again later.")
    return problem(503, detail, "unavailable", headers={"Retry-After": "5"})


def _of_http(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, WrongMediaTypeError):
        detail = _("Send JSON: Content-Type: application/json.")
        return problem(415, detail, "unsupported_media_type")
    if error.status_code == 400:
        return problem(400, _("The body is not JSON that can be read."), "invalid_json")
    return problem(error.status_code, error)


def _of_input(request: HttpRequest, error: InvalidInput) -> HttpResponse:
    told = [_where(each["loc"]) | {"detail": str(each["msg"])} for each in error.errors]
    first = told[0] if told else {"field": "", "detail": ""}
    detail = ": ".join(filter(None, (first["field"], first["detail"])))
    return problem(422, detail, "invalid_input", errors=told)


def _where(place: Sequence[str | int]) -> dict[str, str]:
    # After the place comes the name of the parameter, which the body has none of.
    names = place[2:] if place[0] == "body" else place[1:]
    field = ".".join(str(each) for each in names)
    return {"in": str(place[0]), "field": field.encode(errors="replace").decode()}


def _of_row(request: HttpRequest, error: ValidationError) -> HttpResponse:
    told = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
    errors = [
        {"in": "body", "field": field, "detail": text}
        for field, texts in told.items()
        for text in texts
    ]
    return problem(422, errors[0]["detail"], "invalid_input", errors=errors)


def _of_rights(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    detail = str(error) or _("The token, or its user, may not do this.")
    return problem(403, detail, "forbidden")


def _of_refusal(request: HttpRequest, error: DeployManagerError) -> HttpResponse:
    return problem(409, error.message, error.message.code)


def _of_size(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(413, _("The body is too large."), "too_large")


def _of_request(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem(400, _("The request can't be read."), "bad_request")


def _of_bug(request: HttpRequest, error: Exception) -> HttpResponse:
    # The border of a request: whoever is told of errors in pages is told of this one, too.
    log_error(logger, "%s %s failed", request.method, request.path)
    got_request_exception.send(sender=None, request=request)
    detail = _("Something went wrong here: see the log of the web server.")
    return problem(500, detail, "unexpected_error")
