"""Outgoing webhooks: signed JSON, a release of Sentry, an annotation of Grafana. No database."""

import hashlib
import hmac
import json
import time
from base64 import b64decode, b64encode
from binascii import Error as NotBase64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

import requests
from django.utils.translation import gettext_noop as _
from urllib3.exceptions import HTTPError

from deploy_manager.exceptions import WebhookFailed
from deploy_manager.https import open_session

TIMEOUTS = (5.0, 10.0)
"""Seconds to connect, and for an answer."""

STANDARD, SENTRY, GRAFANA = "standard", "sentry", "grafana"
WHSEC = "whsec_"
LEAST_KEY, MOST_KEY = 24, 64
"""Bytes of a key that signs, as Standard Webhooks has it."""

SUBJECT_MOST = 500
"""Letters of a commit's subject that Sentry is sent."""


@dataclass(frozen=True)
class Ended:
    """A deployment that has ended, and all that is told of it."""

    number: int
    project: str
    environment: str
    """With its project: shop/production."""

    recipe: str
    state: str
    commit: str = ""
    requested_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The rest, for signed JSON: who requested it, its servers and so on."""

    commits: Sequence[Mapping[str, str]] = ()
    """Those that it brought, newest first: hash, subject, author, committed_at."""

    title: str = ""


@dataclass(frozen=True)
class Call:
    """One request by POST."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(repr=False)


def calls_for(form: str, url: str, secret: str, key: str, ended: Ended) -> list[Call]:
    """Return what is to be sent, one after the other. `key` is the same at each attempt.

    Raises WebhookFailed for an address or a secret that the form can't use.
    """
    match form:
        case "standard":
            return [_signed(url, secret, key, ended)]
        case "sentry":
            return _for_sentry(url, secret, ended)
        case "grafana":
            return [_for_grafana(url, secret, ended)]
    raise WebhookFailed(_("Its form %(form)s is not known."), form=repr(form))


def send(calls: Sequence[Call]) -> None:
    """Send all, and stop at the first that is not accepted. Raises WebhookFailed.

    Of an answer only the status is read: what a receiver writes is of no use here, and whoever may
    name an address should not read what lies behind it. No redirect is followed: it would take the
    secret elsewhere.
    """
    with open_session() as session:
        for call in calls:
            _post(session, call)


def key_of(secret: str) -> bytes:
    """Return the key that a secret like whsec_… stands for. Raises WebhookFailed."""
    try:
        if not secret.startswith(WHSEC):
            raise ValueError
        key = b64decode(secret.removeprefix(WHSEC), validate=True)
    except (ValueError, NotBase64Error):
        key = b""
    if not LEAST_KEY <= len(key) <= MOST_KEY:
        raise WebhookFailed(
            _(
                "To sign, the secret has to be whsec_ and the Base64 of %(least)d to %(most)d"
                " random bytes."
            ),
            least=LEAST_KEY,
            most=MOST_KEY,
        )
    return key


def _post(session: requests.Session, call: Call) -> None:
    try:
        answer = session.post(
            call.url,
            data=call.body,
            headers=dict(call.headers),
            timeout=TIMEOUTS,
            allow_redirects=False,
            stream=True,
            # Given, so that no file of the account's brings another login.
            auth=_as_it_is,
        )
    except (requests.RequestException, HTTPError, OSError) as error:
        # The exception's text may have the address, which may hold a token.
        raise WebhookFailed(
            _("It can't be reached: %(error)s."), error=type(error).__name__
        ) from None
    with answer:
        if answer.is_redirect:
            raise WebhookFailed(_("It redirects, which is not followed."))
        if not 200 <= answer.status_code < 300:
            raise WebhookFailed(_("It answered %(status)d."), status=answer.status_code)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _signed(url: str, secret: str, key: str, ended: Ended) -> Call:
    """Return signed JSON: https://www.standardwebhooks.com."""
    signing_key, timestamp = key_of(secret), str(int(time.time()))
    body = json.dumps(
        {
            "type": f"deployment.{ended.state}",
            "timestamp": (ended.finished_at or ended.requested_at or datetime.min).isoformat(),
            "data": {
                "number": ended.number,
                "project": ended.project,
                "environment": ended.environment,
                "recipe": ended.recipe,
                "state": ended.state,
                "commit": ended.commit,
                **ended.facts,
            },
        }
    ).encode()
    signed = f"{key}.{timestamp}.".encode() + body
    digest = hmac.new(signing_key, signed, hashlib.sha256).digest()
    headers = {
        "Content-Type": "application/json",
        "webhook-id": key,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }
    return Call(url, body, headers)


def _for_sentry(url: str, secret: str, ended: Ended) -> list[Call]:
    """Return a release with its commits, and its deploy: https://docs.sentry.io/api/releases/."""
    parts = urlsplit(url)
    projects = parse_qs(parts.query).get("project", [])
    if not projects:
        raise WebhookFailed(_("Its address names no project: end it with ?project=shop."))
    if not ended.commit:
        raise WebhookFailed(_("A deployment without a commit is no release of Sentry."))
    base = urlunsplit(parts._replace(path=parts.path.rstrip("/"), query="", fragment=""))
    release = {
        "version": ended.commit,
        "projects": projects,
        "dateReleased": _time(ended.finished_at),
        "commits": [
            {
                "id": each["hash"],
                "message": each["subject"][:SUBJECT_MOST],
                "author_name": each["author"][:100],
                "timestamp": each["committed_at"],
            }
            for each in ended.commits
        ],
    }
    deploy = {
        "environment": ended.environment.rpartition("/")[2],
        "name": ended.title[:64],
        "projects": projects,
        "dateStarted": _time(ended.started_at),
        "dateFinished": _time(ended.finished_at),
    }
    version = quote(ended.commit, safe="")
    return [
        _json(f"{base}/releases/", release, secret),
        _json(f"{base}/releases/{version}/deploys/", deploy, secret),
    ]


def _for_grafana(url: str, secret: str, ended: Ended) -> Call:
    """Return an annotation: https://grafana.com/docs/grafana/latest/developers/http_api/."""
    finished = ended.finished_at or ended.requested_at
    started = ended.started_at or finished
    annotation = {
        "time": _milliseconds(started),
        "timeEnd": _milliseconds(finished),
        "tags": ["deployment", ended.environment, ended.recipe, ended.state],
        "text": f"{ended.title} {ended.commit[:12]}".strip(),
    }
    return _json(f"{url.rstrip('/')}/api/annotations", annotation, secret)


def _json(url: str, data: object, secret: str) -> Call:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
    return Call(url, json.dumps(data).encode(), headers)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _milliseconds(moment: datetime | None) -> int | None:
    return int(moment.timestamp() * 1000) if moment else None
