"""A site's application behind its maintenance page, for WSGI and for ASGI.

Both answer 503 with a page while the file `maintenance/on` exists. Requests with the secret get
through, and learn which release answers.
"""

from __future__ import annotations

import hmac
import os

from .place import Place, read

RETRY_SECONDS = 60
OWN_PAGE = b"<!doctype html><title>Maintenance</title><p>Down for maintenance, back soon."
STATUS = 503


class Wrapped:
    """What both have in common."""

    def __init__(self, application, place: Place) -> None:  # type: ignore[no-untyped-def]
        self.application = application
        self.folder = os.path.join(place.path, "maintenance")
        self.secret = read(os.path.join(place.tools, "bypass")).strip()
        self.release = place.release

    def is_trusted(self, shown: bytes) -> bool:
        return bool(self.secret) and hmac.compare_digest(shown, self.secret)

    @property
    def is_in_maintenance(self) -> bool:
        return os.path.exists(os.path.join(self.folder, "on"))

    def page(self) -> tuple[list[tuple[str, str]], bytes]:
        """Return the headers and the body of the page."""
        page = read(os.path.join(self.folder, "index.html")) or OWN_PAGE
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page))),
            ("Retry-After", str(RETRY_SECONDS)),
            ("Cache-Control", "no-store"),
        ]
        return headers, page


class WSGI(Wrapped):
    """See PEP 3333."""

    def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
        shown = environ.get("HTTP_X_MAINTENANCE_BYPASS", "")
        if self.is_trusted(shown.encode("utf-8", "replace")):
            return self.application(environ, self.naming_the_release(start_response))
        if not self.is_in_maintenance:
            return self.application(environ, start_response)
        headers, page = self.page()
        start_response("503 Service Unavailable", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [page]

    def naming_the_release(self, start_response):  # type: ignore[no-untyped-def]
        def start(status, headers, *error):  # type: ignore[no-untyped-def]
            return start_response(status, [*headers, ("X-Deploy-Release", self.release)], *error)

        return start


class ASGI(Wrapped):
    """See https://asgi.readthedocs.io/en/latest/specs/www.html."""

    async def __call__(self, scope, receive, send):  # type: ignore[no-untyped-def]
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        shown = dict(scope["headers"]).get(b"x-maintenance-bypass", b"")
        if self.is_trusted(shown):
            await self.application(scope, receive, self.naming_the_release(send))
        elif self.is_in_maintenance:
            await self.answer(scope, send)
        else:
            await self.application(scope, receive, send)

    def naming_the_release(self, send):  # type: ignore[no-untyped-def]
        async def send_named(event):  # type: ignore[no-untyped-def]
            if event["type"] == "http.response.start":
                named = (b"x-deploy-release", self.release.encode())
                event = {**event, "headers": [*event.get("headers", []), named]}
            await send(event)

        return send_named

    async def answer(self, scope, send):  # type: ignore[no-untyped-def]
        headers, page = self.page()
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": STATUS, "headers": pairs})
        body = b"" if scope["method"] == "HEAD" else page
        await send({"type": "http.response.body", "body": body})
