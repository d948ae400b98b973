"""Questions to the resolver: asked by pages, answered by workers.

The row is the queue: a page writes it and wakes a worker, which claims it and writes the answer. If
that worker dies, the reconcile loop wakes another one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone, translation
from django.utils.translation import gettext_noop as _

from deploy_manager.credentials import index_of
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.isolation import one_by_one
from deploy_manager.logs import log_error
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Resolution
from deploy_manager.models.resolutions import LEASE, TAKEN_UP_AT_MOST
from deploy_manager.models.rights import Right, may, no_longer
from deploy_manager.models.transactions import after_commit
from deploy_manager.packages.importing import read_sent
from deploy_manager.packages.targets import targets_of
from deploy_manager.requirements.completing import find_pins
from deploy_manager.requirements.pins import lock_text
from deploy_manager.requirements.targets import oldest_python
from deploy_manager.signals import resolution_due

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

JOB = "had questions answered"
"""Its name among the jobs of the reconcile loop."""

BEATS_EVERY = LEASE.total_seconds() / 5
WAKE_AGAIN_AFTER = timedelta(seconds=15)
KEPT_FOR = timedelta(hours=1)
"""How long an answer may be confirmed; after that the question has to be asked again."""


def ask(
    kind: str, environments: Sequence[Environment], asked: Mapping[str, Any], user: "User"
) -> Resolution:
    """Write a question and wake a worker after the commit."""
    resolution = Resolution.objects.create(
        kind=kind,
        environments=[each.pk for each in environments],
        asked=dict(asked),
        requested_by=user,
        language=translation.get_language() or "",
    )
    after_commit(_wake, resolution.pk)
    return resolution


def find_asked(kind: str, pk: str, user: "User") -> Resolution | None:
    """Return a person's question; None if it is no longer kept, or another person's."""
    is_number = pk.isdecimal() and len(pk) < 19  # databases refuse longer ones with an error
    found = Resolution.objects.filter(
        kind=kind, requested_by=user, created_at__gt=timezone.now() - KEPT_FOR
    )
    return found.filter(pk=int(pk)).first() if is_number else None


def take_up(resolution_id: int) -> bool:
    """Answer a question, from any process; False if another process has or had it.

    This is the border of a task: any error is written as the answer.
    """
    held = Resolution.objects.claim(resolution_id)
    if held is None:
        return False
    # None translates nothing, where "" would leave whatever language is active.
    with translation.override(held.language or None), _beating(held):
        try:
            answer = _answers[held.kind](held)
        except DeployManagerError as error:
            return held.fail(error.message)
        except Exception as error:
            log_error(logger, "%s could not be answered", held)
            return held.fail(
                Message(
                    _("This could not be worked out: %(why)s"),
                    "unexpected_error",
                    why=repr(error)[:500],
                )
            )
        return held.succeed(answer)


def keep_answering() -> int:
    """Wake workers again for questions that wait; return how many.

    Questions whose workers all died fail, and those that are no longer kept are deleted.
    """
    # Twice as long as they are kept: a page that is open may still show why it can't be confirmed.
    Resolution.objects.filter(created_at__lt=timezone.now() - 2 * KEPT_FOR).delete()
    given_up = Resolution.objects.silent().filter(token__gte=TAKEN_UP_AT_MOST)
    why = Message(
        _("Every worker that tried to answer it died: see the workers' logs."), "worker_silent"
    )
    one_by_one(JOB, given_up, lambda each: each.fail(why))
    waiting = Resolution.objects.to_claim()
    return sum(one_by_one(JOB, waiting, lambda each: _wake(each.pk, WAKE_AGAIN_AFTER)))


def _wake(resolution_id: int, again_after: timedelta = timedelta()) -> bool:
    if not Resolution.objects.mark_woken(resolution_id, again_after):
        return False
    resolution = Resolution.objects.get(pk=resolution_id)
    for receiver, error in resolution_due.send_robust(Resolution, resolution=resolution):
        if isinstance(error, Exception):
            logger.error("%r could not wake a worker for %s: %r", receiver, resolution, error)
    return True


def note_not_woken(resolution: Resolution, why: str) -> None:
    """Note for the page that no worker could be woken; the reconcile loop tries again."""
    queued = Resolution.objects.filter(pk=resolution.pk, state=Resolution.State.QUEUED)
    queued.update(message=describe_not_woken(why))


def describe_not_woken(why: str) -> Message:
    return Message(_("No worker could be woken: %(why)s"), "no_worker_woken", why=why)


Answer = Callable[[Resolution], dict[str, Any]]
_answers: dict[str, Answer] = {}


def answers(kind: Resolution.Kind) -> Callable[[Answer], Answer]:
    """Register a function that answers questions of a kind, in a worker."""

    def register(answer: Answer) -> Answer:
        _answers[kind] = answer
        return answer

    return register


@contextmanager
def _beating(held: Resolution) -> Iterator[None]:
    """Keep the claim by beats from a thread of its own, since the resolver may take minutes."""
    is_over = Event()

    def beat() -> None:
        is_held = True
        while is_held and not is_over.wait(BEATS_EVERY):
            try:
                is_held = held.beat()
            except (OperationalError, InterfaceError) as error:
                logger.warning("%s could not be kept: %s", held, error)  # the next beat may do it
            finally:
                connection.close()  # Django opens one per thread, and closes only the request's

    thread = Thread(target=beat, name=f"beats for {held}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def environments_of(held: Resolution) -> list[Environment]:
    """Return the environments of a question. Raises RequestRefused if one was deleted."""
    found = Environment.objects.select_related("project").in_bulk(held.environments)
    if missing := [pk for pk in held.environments if pk not in found]:
        raise RequestRefused(_("Environment %(number)s was deleted."), number=missing[0])
    return [found[pk] for pk in held.environments]


@answers(Resolution.Kind.PINS)
def _answer_pins(held: Resolution) -> dict[str, Any]:
    """Find the pins that files ask for, as the import page requested. Raises DeployManagerError."""
    (environment,) = environments_of(held)
    user = held.requested_by
    # Checked again: the right may have been taken away while the question waited.
    if not may(user, Right.CHANGE, environment):
        raise RequestRefused(no_longer(user, Right.CHANGE, environment))
    asked = held.asked
    name, asking = read_sent(environment, asked["text"], asked["name"], asked["commit"])
    pinned = find_pins(
        asking,
        name,
        resolve=asked["lock"],
        skip_bad=asked["skip_bad"],
        python_version=oldest_python(targets_of(environment)),
        index_url=index_of(environment),
    )
    return {"pins": lock_text(pinned.pins), "problems": [str(one) for one in pinned.problems]}
