"""Notify people of processes: down, restarted again and again, of another release; or back."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.isolation import forget, one_by_one
from deploy_manager.models import Environment, Notification, Placement, SeenProcess
from deploy_manager.models.states import PROCESS_BACK, PROCESS_DOWN
from deploy_manager.notifications.sending import send

State = SeenProcess.State

GONE_WRONG = (State.DOWN, State.RESTARTING)
"""Of these, people are notified once, whichever of them it is."""

JOB = "sent notifications of processes"

MOST_LINES = 20
"""Processes that are named in one notification."""


def tell(placements: Iterable[Placement]) -> int:
    """Notify every target that asked for it of what is news on these placements; return how many.

    There is one notification for each environment. A target that can't be reached stops no other:
    the error is kept as its problem.
    """
    by_environment: dict[int, list[SeenProcess]] = defaultdict(list)
    for process in news_of(placements):
        if _claim(process):
            by_environment[process.watch.placement.environment_id].append(process)
    return sum(_tell_of(news) for news in by_environment.values())


def news_of(placements: Iterable[Placement]) -> list[SeenProcess]:
    """Return the processes of which people have not heard yet."""
    found = SeenProcess.objects.filter(watch__placement__in=placements, is_confirmed=True)
    changed = found.exclude(state=State.UP, told="")
    rows = changed.select_related(
        "watch__placement__environment__project", "watch__placement__server"
    )
    return [row for row in rows if is_news(row)]


def is_news(process: SeenProcess) -> bool:
    """Whether people are to hear of it, given what they heard last; see `SeenProcess.told`."""
    if not process.is_confirmed or process.state == State.UNKNOWN:
        return False
    if process.state == State.UP or process.told in GONE_WRONG:
        return process.state == State.UP and bool(process.told)
    return process.state != process.told


def _claim(process: SeenProcess) -> bool:
    """Note that people hear of it; False if another worker does that, or it has changed."""
    mine = SeenProcess.objects.filter(pk=process.pk, told=process.told, state=process.state)
    return bool(mine.update(told="" if process.state == State.UP else process.state))


def _tell_of(news: Sequence[SeenProcess]) -> int:
    environment = news[0].watch.placement.environment
    notify = partial(_notify, environment, news)
    return sum(one_by_one(JOB, environment.notifications.all(), notify, "environment"))


def _notify(
    environment: Environment, news: Sequence[SeenProcess], notification: Notification
) -> bool:
    wanted = [each for each in news if event_of(each) in notification.states]
    if not wanted:
        return False
    with translation.override(settings.LANGUAGE_CODE):
        title, text = title_of(environment, wanted), text_of(wanted)
    send(notification.target, title, text)
    forget(JOB, notification)
    return True


def event_of(process: SeenProcess) -> str:
    """Return by which of the events that people choose they hear of it."""
    return PROCESS_BACK if process.state == State.UP else PROCESS_DOWN


def title_of(environment: Environment, news: Sequence[SeenProcess]) -> str:
    """Return in one line how many processes there are of each state, the worst first."""
    states = [each.state for each in news]
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


def text_of(news: Sequence[SeenProcess]) -> str:
    """Return a line for each process."""
    ordered = sorted(news, key=lambda each: (each.watch.placement.server.name, str(each)))
    lines = [_line(each) for each in ordered[:MOST_LINES]]
    more = len(ordered) - MOST_LINES
    if more > 0:
        lines.append(_("and %(count)d more") % {"count": more})
    return "\n".join(lines)


def _line(process: SeenProcess) -> str:
    is_back = process.state == State.UP
    words = {
        "server": process.watch.placement.server.name,
        "process": process,
        "state": _("is back") if is_back else process.get_state_display(),
        "why": process.message,
    }
    if process.message:
        return _("%(server)s: %(process)s: %(state)s. %(why)s") % words
    return _("%(server)s: %(process)s: %(state)s.") % words
