"""GitHub: https://docs.github.com/webhooks/webhook-events-and-payloads."""

from urllib.parse import parse_qs

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
    is_signed_in_hex,
    read_json,
)

FORM = "application/x-www-form-urlencoded"
"""What GitHub proposes for a new webhook: then the JSON is in a field of it."""

STATES = {"pending": PENDING, "success": SUCCESS, "failure": FAILURE, "error": FAILURE}

# What was skipped, or says nothing, is no failure: GitHub itself lets such a commit be merged.
PASSED = ("success", "neutral", "skipped")


class GitHub:
    """What GitHub sends: pushes, statuses, check runs and workflow runs."""

    def is_genuine(self, headers: Headers, body: bytes, secret: str) -> bool:
        algorithm, _, signature = headers.get("x-hub-signature-256", "").partition("=")
        return is_signed_in_hex(signature if algorithm == "sha256" else "", body, secret)

    def key_of(self, headers: Headers) -> str:
        return header(headers, "x-github-delivery")

    def read(self, headers: Headers, body: bytes) -> Event:
        payload, name = _payload(headers, body), header(headers, "x-github-event")
        match name:
            case "push":
                pusher = payload.part("pusher").text("name", longest=100)
                return Event(name, push_of(payload, pusher))
            case "status":
                return Event(name, _status(payload))
            case "check_run" | "workflow_run":
                return Event(name, _run(payload.part(name)))
        return Event(name)


def _payload(headers: Headers, body: bytes) -> Payload:
    match content_type(headers):
        case "application/json":
            return read_json(body)
        case "application/x-www-form-urlencoded":
            try:
                return read_json(parse_qs(body.decode(), max_num_fields=10)["payload"][0])
            except (ValueError, KeyError):
                raise UnreadableError("the form has no payload") from None
    raise UnreadableError(f"its content type is neither {JSON} nor {FORM}")


def _status(payload: Payload) -> Status:
    state = STATES.get(payload.text("state"), "")
    if not state:
        raise UnreadableError("“state” is none that GitHub documents")
    return status_of(payload, "sha", payload.text("context"), state, "updated_at", "created_at")


def _run(run: Payload) -> Status:
    """Return what a check run says, or a run of a workflow of GitHub Actions."""
    state = PENDING
    if run.text("status") == "completed":
        state = SUCCESS if run.text("conclusion") in PASSED else FAILURE
    # Of a check run only the times of its beginning and end are told.
    times = ("updated_at", "completed_at", "started_at", "created_at")
    return status_of(run, "head_sha", run.text("name"), state, *times)
