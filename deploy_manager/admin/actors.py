"""Who acts during a request, for the audit: the user who is logged in, and their address."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from deploy_manager.admin.headers import View
from deploy_manager.auditing import Actor, acting


class ActorMiddleware:
    """Lets the audit know who acts in all of a project's pages, as those that give people rights.

    It belongs after Django's AuthenticationMiddleware. Our own pages need it not.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with acting(actor_of(request)):
            return self._get_response(request)


def as_actor(view: View) -> View:
    """Let a view act as the user of its request."""

    @wraps(view)
    def known(request: HttpRequest, *args: Any, **options: Any) -> HttpResponseBase:
        with acting(actor_of(request)):
            return view(request, *args, **options)

    return known


def actor_of(request: HttpRequest) -> Actor:
    """Return the user of a request as an actor."""
    user = getattr(request, "user", None)
    # The address of the connection: a header that names another could be anybody's word.
    address = str(request.META.get("REMOTE_ADDR", ""))
    if user is None or not user.is_authenticated:
        return Actor("nobody logged in", "admin", address=address)
    return Actor(user.get_username(), "admin", user.pk, address)
