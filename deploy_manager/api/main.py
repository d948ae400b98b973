"""The API put together: its operations, its errors, its schema and its addresses."""

import json
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, re_path
from ninja import NinjaAPI, Schema
from ninja.openapi.schema import REF_TEMPLATE
from ninja.parser import Parser

import deploy_manager
from deploy_manager.api import deployments, environments, packages, statuses, token, upgrades
from deploy_manager.api.access import TokenAuth, TokenThrottle, as_actor
from deploy_manager.api.filters import without_unknown_filters
from deploy_manager.api.problems import (
    MEDIA_TYPE,
    WrongMediaTypeError,
    handle_errors,
    no_such_address,
    not_found,
    problem,
)
from deploy_manager.api.reference import Page
from deploy_manager.api.shapes import Problem

DESCRIPTION = (
    "Deploy, watch, roll back, approve and look, by a token. Errors are"
    " `application/problem+json` (RFC 9457)."
)


class JsonParser(Parser):
    """Takes JSON that is said to be JSON."""

    def parse_body(self, request: HttpRequest) -> Any:
        if request.content_type != "application/json":
            raise WrongMediaTypeError
        return json.loads(request.body)


class Api(NinjaAPI):
    """Adds to the schema the errors that each operation may answer with."""

    def set_default_exception_handlers(self) -> None:
        handle_errors(self)

    def get_openapi_schema(self, **options: Any) -> Any:
        schema = super().get_openapi_schema(**options)
        for name, part in _definitions(Problem).items():
            schema["components"]["schemas"][name] = part
        for operations in schema["paths"].values():
            for operation in operations.values():
                _add_errors(operation)
        return schema


def _definitions(shape: type[Schema]) -> dict[str, Any]:
    found: dict[str, Any] = shape.model_json_schema(ref_template=REF_TEMPLATE)
    inner: dict[str, Any] = found.pop("$defs", {})
    return inner | {shape.__name__: found}


def _add_errors(operation: dict[str, Any]) -> None:
    told = {400: "Bad request", 422: "A value is refused: see `errors`", 503: "No database"}
    if operation.get("security"):
        told |= {
            401: "No token, or none that is good",
            403: "The token, or its user, lacks the right",
            404: "Not there, or not visible",
            409: "Refused: see `detail` and `code`",
            429: "Too many requests: see `Retry-After`",
        }
    if operation.get("requestBody"):
        told |= {413: "The body is too large", 415: "The body is not said to be JSON"}
    shape = {"schema": {"$ref": REF_TEMPLATE.format(model=Problem.__name__)}}
    for status, text in sorted(told.items()):
        operation["responses"][status] = {"description": text, "content": {MEDIA_TYPE: shape}}


def make_api() -> Api:
    """Return the API. Its operations are those of the modules beside this one."""
    made = Api(
        title="deploy_manager",
        version=deploy_manager.__version__,
        description=DESCRIPTION,
        urls_namespace="deploy_manager:api",
        auth=TokenAuth(),
        throttle=[TokenThrottle()],
        parser=JsonParser(),
        docs=Page(),
    )
    made.add_decorator(as_actor)
    made.add_decorator(without_unknown_filters)
    for module in (token, environments, deployments, packages, statuses, upgrades):
        made.add_router("", module.router)
    return made


api = make_api()


def urls() -> tuple[list[URLPattern | URLResolver], str, str]:
    """Return the addresses, for `path`: none of them answers in anything but JSON."""
    patterns, app, namespace = api.urls
    for each in patterns:
        if isinstance(each, URLPattern):
            each.callback = _in_json(each.callback)
    return [*patterns, re_path("", _nothing_here)], app, namespace


def _in_json(view: Any) -> Any:
    def answered(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        try:
            response: HttpResponseBase = view(request, *args, **options)
        except Http404:
            return not_found()
        if response.status_code == 405:
            allowed = response.headers["Allow"]
            text = f"This address knows {allowed}."
            response = problem(405, text, "method_not_allowed", headers={"Allow": allowed})
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response

    answered.csrf_exempt = True  # type: ignore[attr-defined]
    return answered


def _nothing_here(request: HttpRequest) -> HttpResponse:
    return no_such_address()


_nothing_here.csrf_exempt = True  # type: ignore[attr-defined]
