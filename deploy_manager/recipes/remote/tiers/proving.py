"""Proof that a web server answers by the configuration that was just written."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import units
from .running import TierError

if TYPE_CHECKING:
    from .files import Wanted

HEADER = "X-Deploy-Tier"
PATIENCE = 10.0
"""Seconds: old workers may answer for a moment after a reload."""


def prove(wanted: Wanted) -> None:
    """Ask each address until it answers by this configuration. Raises TierError."""
    until = time.monotonic() + PATIENCE
    for proof in wanted.proofs:
        while problem := _problem(proof):
            if time.monotonic() > until:
                raise TierError(f"{proof['url']}: {problem}\n{units.log_of(wanted.unit)}".strip())
            time.sleep(0.1)


def _problem(proof: Mapping[str, str]) -> str:
    """Return what is wrong with the answer; blank: nothing."""
    parts = urlsplit(proof["url"])
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # It is this server that is asked, so its certificate need not be known to anybody.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(parts.netloc, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request("GET", parts.path, headers={"Host": proof["host"]})
        answer = connection.getresponse()
        found = answer.getheader(HEADER)
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({error})"
    finally:
        connection.close()
    if found == proof["digest"]:
        return ""
    return f"it answers {answer.status}, but not by the configuration that was written"
