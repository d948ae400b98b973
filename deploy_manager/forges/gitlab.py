"""GitLab: https://docs.gitlab.com/user/project/integrations/webhook_events/."""

import binascii
import time
from base64 import b64decode, b64encode

from deploy_manager.forges.said import (
    FAILURE,
    PENDING,
    SUCCESS,
    Event,
    Headers,
    Payload,
    Status,
    UnreadableError,
    push_of,
    status_of,
)
from deploy_manager.forges.signatures import (
    JSON,
    content_type,
    header,
    read_json,
    same,
    standard_signature,
)

LATEST = 300
"""Seconds by which the time of a signed message may be off."""

STATES = {
    "success": SUCCESS,
    "failed": FAILURE,
    "canceled": FAILURE,
    "skipped": FAILURE,
    **dict.fromkeys(
        (
            *("created", "waiting_for_resource", "preparing", "pending", "running", "canceling"),
            *("manual", "scheduled", "waiting_for_callback"),
        ),
        PENDING,
    ),
}

PIPELINE = "pipeline"
"""What a pipeline is called as a check, if it has no name."""

_WHSEC = "whsec_"


def signing_token_of(secret: str) -> str:
    """Return a secret of 64 hexadecimal digits in the form that GitLab takes to sign with."""
    return _WHSEC + b64encode(bytes.fromhex(secret)).decode()


class GitLab:
    """What GitLab sends: pushes, pipelines and jobs.

    With a signing token it signs as Standard Webhooks has it, else it sends the secret itself.
    """

    def is_genuine(self, headers: Headers, body: bytes, secret: str) -> bool:
        signature = headers.get("webhook-signature", "")
        message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        key = _key_of(signing_token_of(secret))
        wanted = standard_signature(key, message_id, timestamp, body)
        # While tokens are changed there may be several.
        is_signed = any(same(each, wanted) for each in signature.split(" ")[:5])
        has_token = same(headers.get("x-gitlab-token", ""), secret)
        return is_signed and _is_now(timestamp) if signature else has_token

    def key_of(self, headers: Headers) -> str:
        # The UUID of an event is the last choice: what one webhook sets off has that of the first.
        return header(headers, "webhook-id", "idempotency-key", "x-gitlab-event-uuid")

    def read(self, headers: Headers, body: bytes) -> Event:
        if content_type(headers) != JSON:
            raise UnreadableError(f"its content type is not {JSON}")
        payload, name = read_json(body), header(headers, "x-gitlab-event")
        match name:
            case "Push Hook" | "Tag Push Hook":
                pusher = payload.text("user_username", "user_name", longest=100)
                return Event(name, push_of(payload, pusher))
            case "Pipeline Hook":
                return Event(name, _pipeline(payload))
            case "Job Hook":
                return Event(name, _job(payload))
        return Event(name)


def _key_of(token: str) -> bytes:
    try:
        return b64decode(token.removeprefix(_WHSEC))
    except binascii.Error:
        return token.encode()


def _is_now(timestamp: str) -> bool:
    is_number = timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12
    return is_number and abs(time.time() - int(timestamp)) <= LATEST


def _state(status: str) -> str:
    if status not in STATES:
        raise UnreadableError("its status is none that GitLab documents")
    return STATES[status]


def _pipeline(payload: Payload) -> Status:
    about = payload.part("object_attributes")
    context = about.text("name") or PIPELINE
    times = ("finished_at", "created_at")
    return status_of(about, "sha", context, _state(about.text("status")), *times)


def _job(payload: Payload) -> Status:
    context, state = payload.text("build_name"), _state(payload.text("build_status"))
    times = ("build_finished_at", "build_started_at", "build_created_at")
    return status_of(payload, "sha", context, state, *times)
