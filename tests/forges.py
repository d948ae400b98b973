"""Deliveries of forges, in the form that each documents: a body, and the headers that sign it."""

import hashlib
import hmac
import json
import time
import uuid
from base64 import b64encode
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "forges"

EVENTS = {
    "github_push": "push",
    "github_tag_deleted": "push",
    "github_status": "status",
    "github_check_run": "check_run",
    "github_workflow_run": "workflow_run",
    "github_ping": "ping",
    "gitlab_push": "Push Hook",
    "gitlab_branch_deleted": "Push Hook",
    "gitlab_pipeline": "Pipeline Hook",
    "gitlab_job": "Job Hook",
    "gitea_push": "push",
    "gitea_status": "status",
}

BEFORE, AFTER = (
    "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
    "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
)
"""The commits of the documented payloads."""


def payload(name: str, /, **changes: Any) -> dict[str, Any]:
    """Return a documented payload, with some of its fields changed."""
    data: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return data | changes


def body_of(data: Any) -> bytes:
    return json.dumps(data).encode()


def sign(name: str, body: bytes, secret: str, key: str = "") -> dict[str, str]:
    """Return the headers with which a forge sends a body of a documented kind."""
    forge, key = name.partition("_")[0], key or str(uuid.uuid4())
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    own = {
        "github": {
            "X-GitHub-Event": EVENTS[name],
            "X-GitHub-Delivery": key,
            "X-Hub-Signature-256": f"sha256={digest}",
        },
        "gitlab": {
            "X-Gitlab-Event": EVENTS[name],
            "X-Gitlab-Event-UUID": key,
            "X-Gitlab-Token": secret,
        },
        "gitea": {
            "X-Gitea-Event": EVENTS[name],
            "X-Gitea-Delivery": key,
            "X-Gitea-Signature": digest,
        },
    }
    return {"Content-Type": "application/json", **own[forge]}


def sign_as_gitlab(
    name: str, body: bytes, secret: str, key: str, at: float | None = None
) -> dict[str, str]:
    """Return the headers of a GitLab that has a signing token instead of a secret one."""
    timestamp = str(int(time.time() if at is None else at))
    signed = f"{key}.{timestamp}.".encode() + body
    digest = hmac.new(bytes.fromhex(secret), signed, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "X-Gitlab-Event": EVENTS[name],
        "webhook-id": key,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }
