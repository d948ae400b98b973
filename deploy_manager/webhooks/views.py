"""The address of a webhook: what is not genuine gets one answer, whatever is wrong with it."""

import uuid

from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.utils import translation
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from deploy_manager.auditing import Actor, acting
from deploy_manager.forges.known import FORGES
from deploy_manager.forges.said import Event, UnreadableError
from deploy_manager.models import IncomingWebhook
from deploy_manager.webhooks import limits
from deploy_manager.webhooks.deliveries import take

MOST_BYTES = 1024**2
"""Of a body. A push of two thousand commits is smaller."""

REFUSED = (
    "Not accepted: check the address of the webhook, whether it is enabled, its secret, and that it"
    " sends JSON of at most 1 MB.\n"
)


@csrf_exempt
@never_cache
@require_POST
def receive(request: HttpRequest, key: uuid.UUID) -> HttpResponse:
    """Take a delivery of a forge.

    Who asks does not learn whether there is such a webhook: all that is refused has the same
    answer, after the same work.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    if limits.is_too_bad_for(address, str(key)):
        return _too_many()
    body = _read(request)
    webhook = IncomingWebhook.objects.select_related("owner", "project").filter(key=key).first()
    event = None if body is None else _verified(request, webhook or _nobody(key), body)
    if webhook is None or not webhook.is_enabled or event is None:
        if limits.is_too_bad(address):
            return _too_many()
        limits.note_bad(address, str(key))
        return HttpResponse(REFUSED, status=403, content_type="text/plain")
    if limits.is_too_often(str(key)):
        return _too_many()
    delivery_key = FORGES[webhook.kind].key_of(_headers(request))
    # In one language: a forge shows the answer to whoever looks there.
    with acting(Actor(webhook.acts_as, "webhook", webhook.owner_id, address)):
        outcome = take(webhook, delivery_key, event)
    with translation.override("en"):
        return JsonResponse({"outcome": str(outcome)}, status=202)


def _verified(request: HttpRequest, webhook: IncomingWebhook, body: bytes) -> Event | None:
    """Return what a genuine request says; None: it is not, or can't be read."""
    headers, forge = _headers(request), FORGES.get(webhook.kind, FORGES["github"])
    # A list: each of them takes its time, whichever is right.
    genuine = [forge.is_genuine(headers, body, secret) for secret in webhook.secrets()]
    if not any(genuine) or not forge.key_of(headers):
        return None
    try:
        return forge.read(headers, body)
    except UnreadableError:
        return None


def _nobody(key: uuid.UUID) -> IncomingWebhook:
    """Return a webhook that does not exist, with a secret that nobody knows."""
    return IncomingWebhook(key=key, kind=IncomingWebhook.Kind.GITHUB, is_enabled=False)


def _read(request: HttpRequest) -> bytes | None:
    """Return the body; None if it is too large, and then not read, or does not come to an end."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return None
    if length > MOST_BYTES:
        return None
    try:
        body = request.read(MOST_BYTES + 1)
    except UnreadablePostError:  # whoever sent it is gone
        return None
    return body if len(body) <= MOST_BYTES else None


def _headers(request: HttpRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


def _too_many() -> HttpResponse:
    headers = {"Retry-After": str(limits.SECONDS)}
    return HttpResponse("Too many.\n", status=429, content_type="text/plain", headers=headers)
