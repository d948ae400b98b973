"""Gitea and Forgejo: https://docs.gitea.com/usage/webhooks."""

from deploy_manager.forges.github import STATES
from deploy_manager.forges.said import SUCCESS, Event, Headers, UnreadableError, push_of, status_of
from deploy_manager.forges.signatures import (
    JSON,
    content_type,
    header,
    is_signed_in_hex,
    read_json,
)


class Gitea:
    """What Gitea and Forgejo send: pushes and commit statuses."""

    def is_genuine(self, headers: Headers, body: bytes, secret: str) -> bool:
        signature = headers.get("x-forgejo-signature") or headers.get("x-gitea-signature", "")
        return is_signed_in_hex(signature, body, secret)

    def key_of(self, headers: Headers) -> str:
        return header(headers, "x-forgejo-delivery", "x-gitea-delivery")

    def read(self, headers: Headers, body: bytes) -> Event:
        if content_type(headers) != JSON:
            raise UnreadableError(f"its content type is not {JSON}")
        payload, name = read_json(body), header(headers, "x-forgejo-event", "x-gitea-event")
        match name:
            case "push":
                pusher = payload.part("pusher").text("username", "login", longest=100)
                return Event(name, push_of(payload, pusher))
            case "status":
                # A warning, which only these forges know, lets a commit pass there, too.
                states = {**STATES, "warning": SUCCESS}
                state = states.get(payload.text("state"), "")
                if not state:
                    raise UnreadableError("“state” is none that Gitea documents")
                times = ("updated_at", "created_at")
                context = payload.text("context")
                return Event(name, status_of(payload, "sha", context, state, *times))
        return Event(name)
