"""Questions to a manager's API, each asked until an answer comes, and done once."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import requests

import deploy_manager
from deploy_manager.client.answers import (
    AWAY,
    BROKEN,
    Away,
    no_answer,
    pause_of,
    problem_of,
    read_json,
    words_of,
)
from deploy_manager.client.config import Manager
from deploy_manager.client.exits import Unreachable
from deploy_manager.client.trusting import Trusting

TIMEOUTS = (10, 60)
"""Seconds to connect, and until an answer comes."""

PATIENCE = 15.0
"""Seconds in which a manager that is away may come back."""

PATIENCE_OF_WATCHERS = 600.0
"""The same for one who watches: it, or its machine, is restarted."""

ASKED_TO_WAIT = 90.0
"""The same if the manager itself says when to come again: too many requests in this minute."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0


class Connection:
    """Asks one manager by one token."""

    def __init__(self, manager: Manager) -> None:
        """Raises Refused if the certificates to trust can't be read."""
        self._url = manager.url
        self._token = manager.token
        self._patience = PATIENCE
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"deploy-manager/{deploy_manager.__version__}"
        # As a function: requests would take another login from ~/.netrc otherwise.
        self._session.auth = self._add_token
        self._session.mount("https://", Trusting(manager.ca_file))

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Wait long in this block for a manager that is away."""
        before, self._patience = self._patience, PATIENCE_OF_WATCHERS
        try:
            yield
        finally:
            self._patience = before

    def get(self, *path: object, **query: object) -> Any:
        """Return the JSON of an answer. Raises ClientError."""
        return read_json(self._ask("GET", path, params=_given(query)), self._url)

    def get_text(self, *path: object, **query: object) -> str:
        """Return an answer that is plain text. Raises ClientError."""
        answer = self._ask("GET", path, params=_given(query))
        answer.encoding = "utf-8"
        return answer.text

    def post(self, *path: object, body: Mapping[str, object] | None = None) -> Any:
        """Send a request; return the JSON of its answer. Raises ClientError.

        However often it has to be sent until an answer comes, the manager does it once.
        """
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return read_json(self._ask("POST", path, json=dict(body or {}), headers=key), self._url)

    def _ask(self, method: str, path: tuple[object, ...], **content: Any) -> requests.Response:
        # What a person typed may hold a slash, a question mark …
        url = f"{self._url}api/v1/{'/'.join(quote(str(part), safe='') for part in path)}"
        request = self._session.prepare_request(requests.Request(method, url, **content))
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return self._send(request)
            except Away as away:
                # One who names a time is taken at his word.
                wait, most = pause, self._patience
                if away.pause is not None:
                    wait, most = away.pause, max(most, ASKED_TO_WAIT)
                if time.monotonic() + wait > began + most:
                    raise Unreachable(str(away)) from away
            time.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _send(self, request: requests.PreparedRequest) -> requests.Response:
        """Send it once. Raises Away if it may be sent again, ClientError if it failed."""
        try:
            # Not by `request`: of itself that takes from the environment whom to trust. A redirect
            # is not followed: it would take the token to where nobody has sent it.
            answer = self._session.send(
                request, verify=True, allow_redirects=False, timeout=TIMEOUTS
            )
        except requests.RequestException as error:
            raise no_answer(error, self._url) from error
        if answer.status_code in AWAY or (answer.status_code == BROKEN and self._is_patient):
            raise Away(words_of(answer, self._url), pause_of(answer))
        if not answer.ok or answer.is_redirect:
            raise problem_of(answer, self._url)
        return answer

    @property
    def _is_patient(self) -> bool:
        return self._patience > PATIENCE

    def _add_token(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _given(query: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in query.items() if value not in ("", None)}
