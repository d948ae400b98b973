"""Responses that a browser saves as a file and never displays."""

from collections.abc import Iterable

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

PLAIN_TEXT = "text/plain; charset=utf-8"


def as_download(content: str | bytes, name: str, content_type: str = PLAIN_TEXT) -> HttpResponse:
    """Return text as a file of this name."""
    response = HttpResponse(content, content_type=content_type)
    _keep(response, name)
    return response


def stream_download(content: Iterable[bytes], name: str) -> StreamingHttpResponse:
    """Return bytes as a text file of this name, without holding all of them in memory."""
    response = StreamingHttpResponse(content, content_type=PLAIN_TEXT)
    _keep(response, name)
    return response


def plain_refusal(error: Exception) -> HttpResponse:
    """Return why there is no such file, as plain text."""
    return HttpResponse(f"{error}\n", content_type=PLAIN_TEXT, status=409)


def _keep(response: HttpResponseBase, name: str) -> None:
    response["Content-Disposition"] = content_disposition_header(True, name) or ""
    # The text comes from repositories and servers: no browser may take it for HTML.
    response["X-Content-Type-Options"] = "nosniff"
