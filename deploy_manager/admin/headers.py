"""What browsers are told about our pages: no script but the admin's, in no frame."""

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import ConfigurationError

View = Callable[..., HttpResponseBase]
NONCE = "csp_nonce"
"""As templates of Django 6.1's admin, and those that a project overrides, read it."""


def with_headers(view: View) -> View:
    """Let a view's answer say what a browser may do with it, unless it says so already."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        response = view(request, *args, **options)
        nonce = _nonce_of(request)
        if isinstance(response, SimpleTemplateResponse) and not response.is_rendered:
            response.context_data = {NONCE: nonce, **(response.context_data or {})}
        if _has_policy():
            response.headers.setdefault("Content-Security-Policy", _policy(nonce))
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return guarded


def _has_policy() -> bool:
    try:
        return get_settings().CONTENT_SECURITY_POLICY
    except ConfigurationError:
        return True  # pages are shown all the same, and `manage.py check` says what is wrong


def _nonce_of(request: HttpRequest) -> str:
    """Return the nonce of a request: that of Django's own middleware, from version 6.0 on."""
    try:
        from django.middleware.csp import get_nonce
    except ImportError:
        return secrets.token_urlsafe(16)
    return str(get_nonce(request) or secrets.token_urlsafe(16))


def _policy(nonce: str) -> str:
    own = " ".join(("'self'", *_static_origin()))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own} 'nonce-{nonce}'",
            f"style-src {own} 'nonce-{nonce}'",
            f"img-src {own} data:",
            f"font-src {own}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def _static_origin() -> list[str]:
    """Return where static files come from, if that is another host."""
    parts = urlsplit(getattr(staticfiles_storage, "base_url", None) or "")
    if not parts.netloc:
        return []
    return [f"{parts.scheme}://{parts.netloc}" if parts.scheme else parts.netloc]
