"""What a look means: the state of each process, since when, and whether that is news."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message
from deploy_manager.models.watches import SeenProcess
from deploy_manager.watching.asking import Instance

State = SeenProcess.State

GONE_WRONG = (State.DOWN, State.RESTARTING)
"""Of these, people are notified once, whichever of them it is."""


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
    values: dict[str, Any] = {
        "state": state,
        "message": _message_of(state, found, context),
        "releases": ", ".join(found.releases)[:300],
        # While it is down there is none, and what it was before tells whether it came back.
        "restarts": found.restarts or row.restarts,
        "since": row.since if row.pk and row.state == state else context.now,
    }
    values["is_confirmed"] = _is_confirmed(row, state)
    values["told"] = row.told
    if is_news(row.told, state, values["is_confirmed"]):
        values["told"] = "" if state == State.UP else state
    return values


def is_news(told: str, state: str, is_confirmed: bool) -> bool:
    """Whether people are to be notified of a state, given the one they heard of last."""
    if not is_confirmed or state == State.UNKNOWN:
        return False
    if state == State.UP or told in GONE_WRONG:
        return state == State.UP and bool(told)
    return state != told


def _state_of(row: SeenProcess, found: Instance, context: Context) -> State:
    if not found.is_known:
        return State.UNKNOWN
    if found.problem:
        return State.DOWN
    if context.is_calm and row.restarts and found.restarts != row.restarts:
        return State.RESTARTING
    return State.OLD if set(found.releases) - {context.release} else State.UP


def _message_of(state: State, found: Instance, context: Context) -> Message:
    if state == State.RESTARTING:
        return Message(_("It was restarted since the last look."))
    if state == State.OLD:
        return Message(_("%(release)s is deployed."), release=context.release)
    return Message(found.problem)


def _is_confirmed(row: SeenProcess, state: State) -> bool:
    """Whether it was seen twice in a row to be well, or not to be: a restart takes a moment."""
    if row.pk is None:
        return state == State.UP
    if State.UNKNOWN in (row.state, state):
        return False
    return row.is_ill == (state in SeenProcess.ILL)
