"""Watching a deployment from its request to its end, and the way to run it again."""

import sys
from collections.abc import Callable

from rich.text import Text

from deploy_manager import broker, dispatch
from deploy_manager.cli.deployments.following import Follower, Interrupts, interruptible
from deploy_manager.cli.exits import FAILED, refusals
from deploy_manager.cli.text import shorten
from deploy_manager.cli.views.base import View
from deploy_manager.deployments.as_json import summary_of
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.progress import FROM_THE_START
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.requester import requester_name

QUESTION = "Leave it running (l), cancel it (c) or watch on (w)? [w] "


def show_request(deployment: Deployment, view: View) -> None:
    """Show the number and the state of a request, and what it waits for."""
    deployment.refresh_from_db()
    view.write(
        "requested",
        deployment=deployment.pk,
        state=deployment.state,
        message=deployment.message,
    )
    view.print(Text(f"#{deployment.pk} {deployment.get_state_display()}"))
    if deployment.message:
        view.remark(str(deployment.message))
    remark_who_starts_it(deployment, view)


def remark_who_starts_it(deployment: Deployment, view: View) -> None:
    """Tell people what starts waiting deployments, if this one waits and nothing here does."""
    if deployment.state == State.WAITING and not broker.is_reconciled():
        view.remark(
            "Reconcile is not scheduled here: `manage.py reconcile --forever 5s` starts waiting"
            " deployments."
        )


def request_and_watch(
    environment: Environment,
    recipe: str,
    options: DeploymentOptions,
    view: View,
    *,
    watches: bool = True,
) -> None:
    """Request a recipe, and watch it to its end unless it is not to be watched.

    Raises CommandError if it is refused, SystemExit if it does not succeed.
    """
    interrupts = Interrupts()
    # From before the request on: a Ctrl-C between the two must not leave it unmentioned.
    with interrupts.noted():
        with refusals():
            deployment = dispatch.request(
                environment,
                recipe,
                source="manage.py",
                requested_by_name=requester_name(),
                options=options,
            )
        show_request(deployment, view)
        if not watches:
            view.remark(f"The admin shows its progress, under Deployments, #{deployment.pk}.")
            write_summary(deployment, view)
            return
        ended = watch(deployment, view, interrupts)
        show_how_to_retry(ended, f"manage.py retry {ended.pk}", view)
        if ended.state != State.SUCCEEDED:
            sys.exit(FAILED)


def write_summary(deployment: Deployment, view: View) -> None:
    """Write the summary of a deployment that is not watched, for programs."""
    view.write("summary", **summary_of(deployment, deployment.host_runs.all()))


def watch(
    deployment: Deployment, view: View, interrupts: Interrupts, after: int = FROM_THE_START
) -> Deployment:
    """Follow a deployment; return it as it ended, or as it was when the watcher left."""

    def stays(now: Deployment) -> bool:
        return ask_whether_to_stay(f"#{now.pk}", lambda: cancel(now, requester_name()), view)

    return Follower(deployment.pk, view, stays, interrupts, after=after).follow()


def ask_whether_to_stay(name: str, cancel: Callable[[], object], view: View) -> bool:
    """After Ctrl-C, ask whether to watch on, leave or cancel; return whether to watch on.

    Without a person to answer, and on a second Ctrl-C, the watcher leaves.
    """
    answer = "l"
    if view.can_ask:
        try:
            with interruptible():
                answer = view.ask(QUESTION).strip().lower()[:1]
        except (KeyboardInterrupt, EOFError):
            pass
    if answer == "c":
        cancel()
        view.say("Cancelling: what runs is being stopped.")
    elif answer == "l":
        view.say(f"{name} goes on without you; the admin shows how it ends.")
        return False
    return True


def show_how_to_retry(deployment: Deployment, command: str, view: View) -> None:
    """Show people the command that runs it again on the servers that did not succeed, if any."""
    if deployment.is_live:
        return
    try:
        _recipe, options = retry(deployment)
    except RequestRefused:
        return
    view.remark(f"`{command}` runs it again on {shorten(options.servers)}.")
