"""What a look means: the state of each process, since when, and whether it was seen twice."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message
from deploy_manager.models.watches import SeenProcess
from deploy_manager.watching.asking import Instance

State = SeenProcess.State

SETTLES = timedelta(seconds=10)
"""Two looks within this time count as one: a restart takes a moment."""


@dataclass(frozen=True)
class Context:
    """What is known besides an instance itself."""

    release: str
    """The one that is deployed there."""

    is_calm: bool
    """Whether nothing that restarts processes happened since the last look, as far as we know."""

    now: datetime


def judge(row: SeenProcess, found: Instance, context: Context) -> dict[str, Any]:
    """Return the values that a row gets from what was found; those of a new one are blank."""
    state = _state_of(row, found, context)
    return {
        "state": state,
        "is_confirmed": _is_confirmed(row, state, context.now),
        "message": _message_of(state, found, context),
        "releases": ", ".join(found.releases)[:300],
        # While it is down there is none, and what it was before tells whether it came back.
        "restarts": found.restarts or row.restarts,
        "since": row.since if row.pk and row.state == state else context.now,
    }


def _state_of(row: SeenProcess, found: Instance, context: Context) -> State:
    if not found.is_known:
        return State.UNKNOWN
    if found.problem:
        return State.DOWN
    has_changed = found.restarts != row.restarts and "" not in (found.restarts, row.restarts)
    if has_changed and context.is_calm:
        return State.RESTARTING
    return State.OLD if set(found.releases) - {context.release} else State.UP


def _message_of(state: State, found: Instance, context: Context) -> Message:
    if state == State.RESTARTING:
        return Message(_("It was restarted since the last look."))
    if state == State.OLD:
        return Message(_("%(release)s is deployed."), release=context.release)
    return Message(found.problem)


def _is_confirmed(row: SeenProcess, state: State, now: datetime) -> bool:
    """Whether it was seen twice in a row to be well, or not to be."""
    if row.pk is None:
        return state == State.UP
    if State.UNKNOWN in (row.state, state) or row.is_ill != (state in SeenProcess.ILL):
        return False
    return row.is_confirmed or now - row.since >= SETTLES
