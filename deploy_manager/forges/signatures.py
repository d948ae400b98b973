"""Signatures of forges: compared in a time that tells nothing of them."""

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Any

from deploy_manager.forges.said import LONGEST_KEY, Headers, Payload, UnreadableError

JSON = "application/json"


def is_signed_in_hex(signature: str, body: bytes, secret: str) -> bool:
    """Whether a signature is the HMAC-SHA256 of a body, in hexadecimal digits."""
    return same(signature, hmac.new(secret.encode(), body, hashlib.sha256).hexdigest())


def standard_signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a message as Standard Webhooks has it."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def same(given: str, wanted: str) -> bool:
    # As bytes: of texts it takes only ASCII, and a header may hold anything.
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def read_json(text: bytes | str) -> Payload:
    """Return a JSON object. Raises UnreadableError."""
    try:
        data: Any = json.loads(text)
    # A RecursionError is what thousands of brackets make of a parser.
    except (ValueError, RecursionError):
        raise UnreadableError("the body is not JSON") from None
    if not isinstance(data, dict):
        raise UnreadableError("the body is not an object")
    return Payload(data)


def header(headers: Headers, *names: str) -> str:
    """Return the first header of these names, as it may be stored."""
    text = next(filter(None, (headers.get(name, "").strip() for name in names)), "")
    return text[:LONGEST_KEY] if text.isprintable() else ""
