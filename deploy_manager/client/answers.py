"""What the answers of a manager mean: JSON, problems (RFC 9457), and no answer at all."""

import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from deploy_manager.client.exits import ClientError, NotFound, Refused
from deploy_manager.client.texts import clean

AWAY = {429, 502, 503, 504}
"""What means: later. Too many requests, or a manager that is restarted behind something else."""

BROKEN = 500
UNAUTHORIZED, NOT_FOUND = 401, 404


class Away(Exception):
    """The manager may answer later; `pause` is how many seconds it asks for, if it does."""

    def __init__(self, message: str, pause: float | None = None) -> None:
        super().__init__(message)
        self.pause = pause


def read_json(answer: requests.Response, url: str) -> Any:
    """Return what an answer contains. Raises Refused."""
    try:
        return answer.json()
    except requests.JSONDecodeError as error:
        raise Refused(_no_api(url)) from error


def problem_of(answer: requests.Response, url: str) -> ClientError:
    """Return the error that an answer stands for which is no success."""
    told, status = words_of(answer, url), answer.status_code
    if answer.is_redirect:
        return Refused(f"{url} leads to {clean(answer.headers['location'])}: use that address.")
    code = _details(answer).get("code")
    reasons = [str(code)] if code else []
    if status == UNAUTHORIZED:
        return Refused(
            "The manager does not accept this token: it may have expired, or been revoked. Get a"
            " new one there, and log in with it.",
            *reasons,
        )
    if status == NOT_FOUND:
        return NotFound(told if _details(answer) else _no_api(url), *reasons)
    return (ClientError if status >= BROKEN else Refused)(told, *reasons)


def words_of(answer: requests.Response, url: str) -> str:
    """Return what an answer tells people."""
    problem = _details(answer)
    words = [problem.get("detail") or problem.get("title")]
    # The first one is what the detail says.
    for each in (problem.get("errors") or ())[1:]:
        words.append(": ".join(filter(None, (each.get("field"), each.get("detail")))))
    told = "\n".join(filter(None, map(clean, words)))
    return told or f"{url} answers {answer.status_code} {clean(answer.reason)}.".replace(" .", ".")


def pause_of(answer: requests.Response) -> float | None:
    """Return how many seconds an answer asks to wait."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0)
    except (ValueError, TypeError, OverflowError):
        return None


def no_answer(error: requests.RequestException, url: str) -> Exception:
    """Return what to raise if there was no answer: Away, or Refused if it will never come."""
    for inner in _behind(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return Refused(
                f"The certificate of {url} is not trusted: {inner.verify_message}. If an authority"
                " of your own has signed it, name that authority's certificate: --ca-file FILE."
            )
        if isinstance(inner, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            break
        if isinstance(inner, ssl.SSLError):
            return Refused(f"There is no TLS at {url}: {clean(inner.reason or inner)}.")
    came = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    if isinstance(error, came):
        return Away(f"{url} does not answer: {_why(error)}.")
    return Refused(f"{url} can't be asked: {clean(error)}")


def _no_api(url: str) -> str:
    return (
        f"What answers at {url} is not deploy_manager's API. The address is where your project's"
        " urls include deploy_manager.urls, like https://manager.example.org/deploy/."
    )


def _details(answer: requests.Response) -> dict[str, Any]:
    """Return the details of a problem; nothing if the answer has none."""
    try:
        found = answer.json()
    except requests.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _why(error: BaseException) -> str:
    """Return the innermost reason, as the system tells it."""
    if isinstance(error, requests.Timeout):
        return "time ran out"
    told = [each.strerror for each in _behind(error) if isinstance(each, OSError) and each.strerror]
    return clean(told[-1]) if told else "the connection broke off"


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it: urllib3 and requests keep it in several places."""
    found = [error]
    for each in found:
        yield each
        inner = (*each.args, each.__cause__, each.__context__, getattr(each, "reason", None))
        found += [one for one in inner if isinstance(one, BaseException) and one not in found]
