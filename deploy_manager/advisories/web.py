"""Asking an address for JSON: bounded in time and size, and without a secret in any message."""

import json
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from django.utils.translation import gettext_noop as _
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from deploy_manager.exceptions import AdvisoriesUnavailable
from deploy_manager.https import open_session
from deploy_manager.messages import Message

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 30.0
"""Seconds; the second is for each piece of an answer."""

MOST_BYTES = 16 * 1024**2
"""Of one answer."""

_PIECE = 64 * 1024
_LONGEST_REASON = 400

RETRIES = Retry(
    total=2,
    connect=0,
    read=0,
    redirect=0,
    other=0,
    status_forcelist=(429, 502, 503, 504),
    allowed_methods=None,  # queries are sent by POST, and change nothing
    backoff_factor=0.2,
    respect_retry_after_header=False,  # it may say an hour, and holds over any timeout
    raise_on_status=False,
)


class NotThere(AdvisoriesUnavailable):
    """The address answers, but has nothing at this path."""

    code = AdvisoriesUnavailable.code


def without_credentials(address: str) -> str:
    """Return an address as it may be shown."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


class Web:
    """An address that answers until `timeout` seconds are over; its user and password are sent.

    For several threads. To be closed.
    """

    def __init__(self, address: str, timeout: float) -> None:
        parts = urlsplit(address)
        self._address = without_credentials(address)
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._session = open_session(RETRIES)
        if parts.username is not None:
            # Apart from the address, which stands in the exceptions of libraries.
            self._session.auth = (unquote(parts.username), unquote(parts.password or ""))

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the JSON at a path, by POST if there is a body.

        Raises AdvisoriesUnavailable, NotThere.
        """
        try:
            return json.loads(self._fetch(path, body))
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _unavailable(str(error) or type(error).__name__) from None
        # A RecursionError is what thousands of brackets make of a parser.
        except (ValueError, RecursionError) as error:
            raise _unavailable(_("its answer is not JSON: %(error)s"), error=error) from None

    def _fetch(self, path: str, body: Any) -> bytes:
        left = self._left_or_raise()
        answer = self._session.request(
            "GET" if body is None else "POST",
            self._address + path,
            json=body,
            timeout=(min(CONNECT_TIMEOUT, left), min(READ_TIMEOUT, left)),
            allow_redirects=False,  # what another address says is nothing that was asked for
            stream=True,
        )
        with answer:
            if answer.is_redirect:
                raise _unavailable(
                    _("it redirects to %(address)s"), address=answer.headers["Location"]
                )
            if answer.status_code == requests.codes.not_found:
                raise NotThere(_("404 %(reason)s"), reason=answer.reason)
            if answer.status_code != requests.codes.ok:
                raise _unavailable(f"{answer.status_code} {answer.reason}")
            return self._read(answer)

    def _read(self, answer: requests.Response) -> bytes:
        """Read whatever comes in, piece by piece: `iter_content` waits until a piece is full."""
        content = bytearray()
        while piece := answer.raw.read1(_PIECE, decode_content=True):
            content += piece
            if len(content) > MOST_BYTES:
                raise _unavailable(_("an answer has more than %(most)d bytes"), most=MOST_BYTES)
            self._left_or_raise()
        return bytes(content)

    def _left_or_raise(self) -> float:
        if not (left := self.seconds_left):
            raise _unavailable(_("not within %(timeout)s s"), timeout=f"{self._timeout:g}")
        return left

    def close(self) -> None:
        self._session.close()


def _unavailable(reason: str, **words: object) -> AdvisoriesUnavailable:
    if not words:
        reason = " ".join(reason.split())
    in_one_line = {name: " ".join(str(word).split()) for name, word in words.items()}
    return AdvisoriesUnavailable(
        Message(reason, AdvisoriesUnavailable.code, **in_one_line).masked(_LONGEST_REASON)
    )
