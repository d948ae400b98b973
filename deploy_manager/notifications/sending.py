"""Sending a notification to a target of the setting `DEPLOY_MANAGER["NOTIFY"]`.

apprise URLs hold passwords and tokens. They are only in this setting, never in a row, and no
message here contains one. Each notification is delivered by a process of its own, for three
reasons: its output, in which libraries may print URLs, is discarded; if a service hangs, the
process is killed; and the worker does not have to import apprise.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable

from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import NotificationFailed
from deploy_manager.messages import Message
from deploy_manager.notifications.outcomes import Outcome

SECONDS = 10.0
"""The longest time that a delivery may take."""

HINT = Message(_("Test its URL in DEPLOY_MANAGER['NOTIFY'] with the command apprise -vv."))


def send(target: str, title: str, text: str) -> None:
    """Send a notification to a target of the setting `NOTIFY`; takes `SECONDS` at most.

    Raises NotificationFailed for an unknown target, a URL that apprise cannot read, and a failed
    delivery. Its message names the target, never the URL.
    """
    # A title becomes the subject of a mail, which an end of line would end.
    line = " ".join(title.split())
    _run(target, {"title": line, "text": text or line})


def check_targets(names: Iterable[str]) -> list[str]:
    """Return the problems of some targets, without sending anything.

    A process is started for each: that takes about half a second.
    """
    problems = []
    for name in names:
        try:
            _run(name, {})
        except NotificationFailed as error:
            problems.append(str(error))
    return problems


def _run(target: str, message: dict[str, str]) -> None:
    """Start the process and wait for it. Raises NotificationFailed."""
    known = get_settings().NOTIFY
    if target not in known:
        raise NotificationFailed(
            _("DEPLOY_MANAGER['NOTIFY'] has no %(target)s. Known targets: %(known)s."),
            target=repr(target),
            known=", ".join(sorted(known)) or "none",
        )
    try:
        done = subprocess.run(
            # -P: a module in the working directory must not replace one of Python's own. The
            # paths are passed instead, so that it finds the same modules as this process.
            [sys.executable, "-P", "-m", __package__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            # Not as an argument: those can be seen by every user of the machine.
            input=json.dumps({"url": known[target], **message}).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotificationFailed(
            _("%(target)s was not notified within %(seconds)s s. %(hint)s"),
            target=repr(target),
            seconds=f"{SECONDS:g}",
            hint=HINT,
        ) from None
    except OSError as error:
        raise NotificationFailed(
            _("%(target)s was not notified: %(error)s."), target=repr(target), error=error
        ) from None
    match done.returncode:
        case Outcome.DONE:
            return
        case Outcome.UNREADABLE:
            text = _("apprise can't read the URL of %(target)s in DEPLOY_MANAGER['NOTIFY'].")
        case Outcome.REFUSED:
            text = _("The service of %(target)s is down or refused the notification. %(hint)s")
        case _other:
            text = _("%(target)s was not notified: its process ended with exit code %(number)d.")
    raise NotificationFailed(text, target=repr(target), hint=HINT, number=done.returncode)
