"""What a source shows of a deployment: the request, its course, and how to go on after its end."""

import sys
from collections.abc import Callable

from rich.text import Text

from deploy_manager import broker
from deploy_manager.cli.asking import who_asks
from deploy_manager.cli.deployments.following import Follower, Interrupts, interruptible
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.text import shorten
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.progress import FROM_THE_START
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, State

QUESTION = "Leave it running (l), cancel it (c) or watch on (w)? [w] "


def show_request(deployment: Deployment, view: JsonLines | Lines) -> None:
    """Show the number and the state of what was asked for, and what it waits for."""
    deployment.refresh_from_db()
    if isinstance(view, JsonLines):
        view.write(
            "requested",
            deployment=deployment.pk,
            state=deployment.state,
            message=deployment.message,
        )
        return
    view.tell(Text(f"#{deployment.pk} {deployment.get_state_display()}"))
    if deployment.message:
        view.say(deployment.message)
    if deployment.state == State.WAITING and not broker.is_reconciled():
        view.say("Nothing reconciles here: `manage.py reconcile --forever 5` begins what waits.")


def watch(
    deployment: Deployment,
    view: JsonLines | Lines,
    interrupts: Interrupts,
    after: int = FROM_THE_START,
) -> Deployment:
    """Follow a deployment; return it as it ended, or as it stood when the watcher left."""

    def stay(now: Deployment) -> bool:
        return _stay(now, view)

    return Follower(deployment.pk, view, stay, interrupts, after=after).follow()


def show_how_to_retry(deployment: Deployment, command: str, view: JsonLines | Lines) -> None:
    """Show the command that goes to the servers which did not come through, if there are any."""
    if deployment.is_live or isinstance(view, JsonLines):
        return
    try:
        _recipe, wanted = retry(deployment)
    except RequestRefused:
        return
    view.say(f"`{command}` runs it again on {shorten(wanted.servers)}.")


def _stay(deployment: Deployment, view: JsonLines | Lines) -> bool:
    """After Ctrl-C: ask whether to watch on, leave or cancel. Where nobody can answer: leave."""

    def cancel() -> None:
        deployment.request_cancel(who_asks())

    return ask_whether_to_stay(f"#{deployment.pk}", cancel, view)


def ask_whether_to_stay(what: str, cancel: Callable[[], object], view: JsonLines | Lines) -> bool:
    """Ask whether to watch on, leave or cancel; return whether to watch on."""
    answer = _answer(view)
    if answer == "c":
        cancel()
        view.say("Cancelling: what runs is being stopped.")
    elif answer == "l":
        view.say(f"{what} goes on without you; the admin shows how it ends.")
        return False
    return True


def _answer(view: JsonLines | Lines) -> str:
    """Return c, l, or w."""
    if isinstance(view, JsonLines) or not sys.stdin.isatty():
        return "l"
    try:
        with interruptible():
            return view.ask(QUESTION).strip().lower()[:1]
    except (KeyboardInterrupt, EOFError):
        return "l"
