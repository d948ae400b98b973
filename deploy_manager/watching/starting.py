"""Starts: have servers start what is down, where the environment says so.

A row says how often that was tried in a row: pauses grow, and after the last one a person has to
look. On the server, a start takes the lock of the deploy path, as a deployment does.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from deploy_manager.conf import get_settings
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.logs import log_error
from deploy_manager.masking import carried, masking
from deploy_manager.messages import Message, message_of
from deploy_manager.models import Deployment, Placement, SeenProcess, Watch
from deploy_manager.site_secrets import known_secrets, open_secrets
from deploy_manager.watching.asking import start_on
from deploy_manager.watching.looking import place_of

logger = logging.getLogger(__name__)

PAUSES = tuple(timedelta(minutes=each) for each in (0, 1, 3, 10, 30))
"""Before each start since the one before; after the last one nothing is started any more."""

GIVEN_UP = Message(
    _(
        "It was started %(count)s times and did not stay up: nothing is started there any more"
        " until the next deployment."
    ),
    "left_alone",
    count=len(PAUSES),
)


def start_what_is_down(placements: Iterable[Placement]) -> list[int]:
    """Start what is down on these servers, side by side; return the ids of those that were asked.

    What fails with one server stops no other: it is written on its row.
    """
    due = [watch for watch in map(_watch_to_start, placements) if watch and _claim(watch)]
    if not due:
        return []
    # Masked in a row is also what a server's thread opened on its way there: all is one work.
    with masking(()), ThreadPoolExecutor(min(get_settings().MAX_HOSTS_AT_ONCE, len(due))) as pool:
        starting = {_begin(pool, watch.placement): watch for watch in due}
        for future in as_completed(starting):
            watch = starting[future]
            with masking(known_secrets(watch.placement.environment)):
                _note(watch, future)
    return [watch.placement_id for watch in due]


def _watch_to_start(placement: Placement) -> Watch | None:
    """Return the watch of a placement on which something is to be started now."""
    if not placement.environment.restart_down:
        return None
    down = SeenProcess.objects.filter(state=SeenProcess.State.DOWN, is_confirmed=True)
    watch = Watch.objects.filter(placement=placement, processes__in=down).first()
    if watch is None:
        return None
    # Of the whole environment: one that works on another server may begin here any moment.
    if Deployment.objects.busy().filter(environment=placement.environment).exists():
        return None
    if watch.starts >= len(PAUSES):
        if watch.start_problem.code != GIVEN_UP.code:
            why = Message.lines(GIVEN_UP, watch.start_problem)
            Watch.objects.filter(pk=watch.pk).update(start_problem=why)
        return None
    pause = PAUSES[watch.starts]
    if watch.started_at is not None and timezone.now() < watch.started_at + pause:
        return None
    watch.placement = placement  # with its environment and its server, as they were read
    return watch


def _claim(watch: Watch) -> bool:
    # Conditional: of two workers that saw it down, one starts it.
    mine = Watch.objects.filter(pk=watch.pk, starts=watch.starts)
    return bool(mine.update(starts=watch.starts + 1, started_at=timezone.now()))


def _begin(pool: ThreadPoolExecutor, placement: Placement) -> "Future[bool]":
    try:
        place = place_of(placement)
        secrets = open_secrets(placement.environment)
    except Exception as error:
        failed: Future[bool] = Future()
        failed.set_exception(error)
        return failed
    with masking(secrets.all):
        return pool.submit(carried(start_on), place)


def _note(watch: Watch, future: "Future[bool]") -> None:
    row = Watch.objects.filter(pk=watch.pk)
    try:
        if not future.result():
            # It is in use, so nothing was tried.
            row.filter(starts=watch.starts + 1).update(starts=watch.starts)
            return
        # Seen soon, and as the start that it is: not as a restart.
        row.update(start_problem="", tried_at=None)
    except Exception as error:
        # The border of a server, as for a look.
        if not isinstance(error, DeployManagerError):
            log_error(logger, "%s could not be told to start its processes", watch.placement)
        row.update(start_problem=message_of(error) or Message(type(error).__name__))
