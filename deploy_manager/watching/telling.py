"""Notify people of processes: down, restarted again and again, of another release; or back."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.isolation import forget, one_by_one
from deploy_manager.models import Environment, Notification
from deploy_manager.models.states import PROCESS_BACK, PROCESS_DOWN
from deploy_manager.notifications.sending import send
from deploy_manager.watching.judging import State
from deploy_manager.watching.looking import News

JOB = "sent notifications of processes"

MOST_LINES = 20
"""Processes that are named in one notification."""


def tell(news: Iterable[News]) -> int:
    """Notify every target that asked for it, once for each environment; return how many were.

    A target that can't be reached stops no other: the error is kept as its problem.
    """
    by_environment: dict[int, list[News]] = defaultdict(list)
    for each in news:
        by_environment[each.placement.environment_id].append(each)
    return sum(_tell_of(each[0].placement.environment, each) for each in by_environment.values())


def _tell_of(environment: Environment, news: Sequence[News]) -> int:
    notify = partial(_notify, environment, news)
    return sum(one_by_one(JOB, environment.notifications.all(), notify, "environment"))


def _notify(environment: Environment, news: Sequence[News], notification: Notification) -> bool:
    wanted = [each for each in news if event_of(each) in notification.states]
    if not wanted:
        return False
    with translation.override(settings.LANGUAGE_CODE):
        title, text = title_of(environment, wanted), text_of(wanted)
    send(notification.target, title, text)
    forget(JOB, notification)
    return True


def event_of(news: News) -> str:
    """Return by which of the events that people choose they hear of it."""
    return PROCESS_BACK if news.process.state == State.UP else PROCESS_DOWN


def title_of(environment: Environment, news: Sequence[News]) -> str:
    """Return in one line how many processes there are of each state, the worst first."""
    states = [each.process.state for each in news]
    order = (State.DOWN, State.RESTARTING, State.OLD, State.UP)
    parts = [_counted(state, states.count(state)) for state in order if state in states]
    return _("%(site)s: %(what)s") % {"site": environment, "what": ", ".join(parts)}


def _counted(state: State, count: int) -> str:
    match state:
        case State.DOWN:
            text = ngettext("%(count)d process is down", "%(count)d processes are down", count)
        case State.RESTARTING:
            text = ngettext(
                "%(count)d process is restarted again and again",
                "%(count)d processes are restarted again and again",
                count,
            )
        case State.OLD:
            text = ngettext(
                "%(count)d process runs another release",
                "%(count)d processes run another release",
                count,
            )
        case _back:
            text = ngettext("%(count)d process is back", "%(count)d processes are back", count)
    return text % {"count": count}


def text_of(news: Sequence[News]) -> str:
    """Return a line for each process."""
    ordered = sorted(news, key=lambda each: (each.placement.server.name, str(each.process)))
    lines = [_line(each) for each in ordered[:MOST_LINES]]
    more = len(ordered) - MOST_LINES
    if more > 0:
        lines.append(_("and %(count)d more") % {"count": more})
    return "\n".join(lines)


def _line(news: News) -> str:
    process = news.process
    is_back = process.state == State.UP
    words = {
        "server": news.placement.server.name,
        "process": process,
        "state": _("is back") if is_back else process.get_state_display(),
        "why": process.message,
    }
    if process.message:
        return _("%(server)s: %(process)s: %(state)s. %(why)s") % words
    return _("%(server)s: %(process)s: %(state)s.") % words
