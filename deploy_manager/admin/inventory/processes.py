"""What runs on the servers of an environment: in a few words, and in a table on its page."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.models import Environment, Placement, SeenProcess, Watch

State = SeenProcess.State

TEMPLATE = "admin/deploy_manager/environment/processes.html"


@dataclass(frozen=True)
class Watched:
    """A server, and what was last seen of its processes."""

    placement: Placement
    watch: Watch


def describe_processes(placements: Iterable[Placement]) -> SafeString | str:
    """Return how many processes are down and the like; blank if none were ever seen.

    Uses what is prefetched: `watch__processes`.
    """
    watched = _watched(placements)
    states = Counter(State(row.state) for each in watched for row in each.watch.processes.all())
    unseen = sum(1 for each in watched if each.watch.problem)
    total = states.total()
    if not total and not unseen:
        return ""
    badges = [
        _badge(state, _counted(state, states[state], total))
        for state in (State.DOWN, State.RESTARTING, State.OLD, State.UNKNOWN)
        if states[state]
    ]
    if unseen:
        text = ngettext("%(count)d server not reached", "%(count)d servers not reached", unseen)
        badges.append(_badge(State.UNKNOWN, text % {"count": unseen}))
    if not badges:
        text = ngettext("%(count)d process up", "%(count)d processes up", total)
        badges.append(_badge(State.UP, text % {"count": total}))
    return format_html_join("\n", "{}", ((badge,) for badge in badges))


def describe_each_process(environment: Environment) -> SafeString | str:
    """Return a table of servers and their processes. Uses what is prefetched, as above."""
    watched = _watched(environment.placements.all())
    seen = [each for each in watched if each.watch.seen_at or each.watch.problem]
    return render_to_string(TEMPLATE, {"watched": seen})


def _watched(placements: Iterable[Placement]) -> list[Watched]:
    found = ((each, getattr(each, "watch", None)) for each in placements)
    return [Watched(placement, watch) for placement, watch in found if watch is not None]


def _counted(state: State, count: int, total: int) -> str:
    match state:
        case State.DOWN:
            text = _("%(count)d of %(total)d processes down")
        case State.RESTARTING:
            text = _("%(count)d of %(total)d processes restarting")
        case State.OLD:
            text = _("%(count)d of %(total)d processes on another release")
        case _unknown:
            text = _("%(count)d of %(total)d processes unknown")
    return text % {"count": count, "total": total}


def _badge(state: State, text: str) -> SafeString:
    return format_html('<span class="dm-state" data-state="{}">{}</span>', state, text)
