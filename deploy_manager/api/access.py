"""Who asks: the token of a request, how often it may, and what it may see."""

import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _
from ninja.errors import Throttled
from ninja.security.http import HttpAuthBase
from ninja.throttling import BaseThrottle

from deploy_manager.auditing import Actor, acting
from deploy_manager.conf import get_settings, parse_rate
from deploy_manager.models import Environment, Token
from deploy_manager.models.rights import Right, limit, may
from deploy_manager.models.tokens import Scope
from deploy_manager.visibility import visible

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from deploy_manager.models.rights import Place

SOURCE = "api"
FAILURES = "60/m"
"""Requests of one address with no good token, beyond which they are not even told that."""

Row = TypeVar("Row", bound=Model)
Answer = Callable[..., Any]


class TokenAuth(HttpAuthBase):
    """`Authorization: Bearer dm_…`: the request is its user's, within the token's limits."""

    openapi_scheme = "bearer"

    def __call__(self, request: HttpRequest) -> Token | None:
        scheme, _space, secret = request.headers.get("Authorization", "").partition(" ")
        token = Token.objects.find(secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            # Those with a good one are let in: many people may have one address.
            if (wait := _count(f"failures:{address_of(request)}", FAILURES)) is not None:
                raise Throttled(wait)
            return None
        user = token.user
        limit(user, token.limits())
        request.user = user
        token.note_use(address_of(request))
        return token


class TokenThrottle(BaseThrottle):
    """So many requests of one token in a time: DEPLOY_MANAGER["API_RATE"].

    It keeps no state between its two calls, as threads share it.
    """

    def allow_request(self, request: HttpRequest) -> bool:
        return _count(f"token:{token_of(request).pk}", get_settings().API_RATE) is None

    def wait(self) -> float:
        _number, seconds = parse_rate(get_settings().API_RATE)
        return seconds - time.time() % seconds


def _count(what: str, rate: str) -> int | None:
    """Count one more; return the seconds to wait if that is too many, else None."""
    number, seconds = parse_rate(rate)
    window, passed = divmod(int(time.time()), seconds)
    key = f"deploy_manager:{what}:{window}"
    cache.add(key, 0, seconds)
    try:
        count = cache.incr(key)
    except ValueError:  # it expired this moment
        return None
    return seconds - passed if count > number else None


def token_of(request: HttpRequest) -> Token:
    """Return the token by which a request was let in."""
    return cast(Token, request.auth)  # type: ignore[attr-defined]


def user_of(request: HttpRequest) -> "User":
    """Return the user of a request, limited to what the token allows."""
    return token_of(request).user


def address_of(request: HttpRequest) -> str:
    """Return the address of the connection: a header that names another is anybody's word."""
    return str(request.META.get("REMOTE_ADDR", ""))


def as_actor(answer: Answer) -> Answer:
    """Let the audit know by which token something is done."""

    @wraps(answer)
    def known(request: HttpRequest, *args: Any, **options: Any) -> Any:
        token: Token | None = getattr(request, "auth", None)
        if token is None:
            return answer(request, *args, **options)
        who = Actor(token.acts_as, SOURCE, token.user_id, address_of(request))
        with acting(who):
            return answer(request, *args, **options)

    return known


def need(request: HttpRequest, right: Right, place: "Place | None") -> None:
    """Raise PermissionDenied unless both the token and its user have a right on a row."""
    if not may(user_of(request), right, place):
        text = _("This needs the right %(right)s, of the token's user and in its scopes.")
        raise PermissionDenied(text % {"right": right.codename})


def need_glass(request: HttpRequest) -> None:
    """Raise PermissionDenied unless the token may break glass, which no right of its user says."""
    if Scope.BREAK_GLASS not in token_of(request).scopes:
        raise PermissionDenied(_("This needs the scope break_glass."))


def find(request: HttpRequest, rows: QuerySet[Row], **which: Any) -> Row:
    """Return the one row that may be seen. Raises Http404: there is none, or it may not."""
    found = visible(request, rows.filter(**which)).first()
    if found is None:
        raise Http404
    return found


def find_environment(request: HttpRequest, name: str) -> Environment:
    """Return the environment `project/name`, if it may be seen. Raises Http404."""
    project, _slash, short = name.partition("/")
    rows = Environment.objects.select_related("project", "promotes_from__project")
    return find(request, rows, project__name=project, name=short)
