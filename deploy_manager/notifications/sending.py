"""Sending a notice to a target by its name.

apprise URLs hold passwords and tokens. They stand in the setting `DEPLOY_MANAGER["NOTIFY"]`, never
in a row, and no message here shows one. Each notice is delivered by a process of its own: what
libraries print and log there, URLs too, is read by nobody; a service that hangs is left by killing
it; and the worker is spared the import of apprise.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import NotificationFailed
from deploy_manager.notifications.outcomes import Outcome

SECONDS = 10.0
"""How long a delivery may take."""

LOOK_CLOSER = "Its URL in DEPLOY_MANAGER['NOTIFY'] can be tried with the command apprise -vv."


def send(target: str, title: str, text: str) -> None:
    """Tell somebody, named in the setting `NOTIFY`, something; takes `SECONDS` at most.

    Raises NoticeFailed for an unknown target, a URL that apprise can't read, and what was not
    delivered. Its message names the target, never the URL.
    """
    line = " ".join(title.split())
    _run(target, {"url": _url_of(target), "title": line, "text": text or line})


def check_targets(names: Iterable[str]) -> list[str]:
    """Return what is wrong with some targets, in words; nobody is told anything.

    A process is started for each: that takes about half a second.
    """
    return [problem for name in names if (problem := _problem_of(name))]


def _problem_of(target: str) -> str:
    try:
        _run(target, {"url": _url_of(target)})
    except NotificationFailed as error:
        return str(error)
    return ""


def _url_of(target: str) -> str:
    known = get_settings().NOTIFY
    if target not in known:
        raise NotificationFailed(
            f"DEPLOY_MANAGER['NOTIFY'] has no {target!r}."
            f" It knows: {', '.join(sorted(known)) or 'nobody'}."
        )
    return known[target]


def _run(target: str, order: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            # The paths are ours, so it needs no working directory to find the same modules.
            [sys.executable, "-P", "-m", __package__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            input=json.dumps(order).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotificationFailed(
            f"{target!r} was not told within {SECONDS:g} s. {LOOK_CLOSER}"
        ) from None
    except OSError as error:
        raise NotificationFailed(f"{target!r} was not told: {error}.") from None
    if done.returncode != Outcome.DONE:
        raise NotificationFailed(_explain(target, done.returncode))


def _explain(target: str, exit_code: int) -> str:
    match exit_code:
        case Outcome.UNREADABLE:
            return f"apprise can't read the URL of {target!r} in DEPLOY_MANAGER['NOTIFY']."
        case Outcome.REFUSED:
            return f"The service of {target!r} is down or refused the notice. {LOOK_CLOSER}"
    return f"{target!r} was not told: the process for it ended with exit code {exit_code}."
