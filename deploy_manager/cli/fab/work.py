"""A command line of fab at work: the same rows, with this very process as the worker."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.core.management import CommandError
from django.db import connections
from invoke.exceptions import Exit

from deploy_manager.cli.asking import (
    REFUSED,
    check_plan,
    make_console,
    refusals,
    refuse,
    who_asks,
)
from deploy_manager.cli.deployments.dry_run import rehearse
from deploy_manager.cli.deployments.find import find_deployment
from deploy_manager.cli.deployments.following import Follower, Interrupts
from deploy_manager.cli.deployments.options import (
    Arguments,
    as_planned,
    options_for,
    options_to_retry,
)
from deploy_manager.cli.deployments.plan import describe
from deploy_manager.cli.deployments.terminal import Lines, make_view
from deploy_manager.cli.deployments.watching import show_how_to_retry
from deploy_manager.cli.fab.upgrade import Words, upgrade
from deploy_manager.cli.packages.pin_changes import agree_to_take_back
from deploy_manager.cli.text import clean
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, Environment, State

FAILED = 1
"""Exit code."""

RETRY, UPGRADE = "retry", "upgrade"


class Selection:
    """What the tasks of one command line share: the environment that was said last."""

    def __init__(self) -> None:
        self._environment: Environment | None = None

    def select(self, environment: Environment) -> None:
        self._environment = environment

    def run(
        self, recipe: str, arguments: Arguments, dry_run: bool, takes_back: bool = False
    ) -> None:
        """Run it here and show it. Raises Exit: 2 where it is refused, 1 where it failed."""
        environment = self._selected(recipe)
        with _exits():
            with refusals():
                wanted = options_for(environment, recipe, arguments)
            _see_through(environment, recipe, wanted, dry_run, takes_back)

    def retry(
        self, number: str, arguments: Arguments, dry_run: bool, takes_back: bool = False
    ) -> None:
        """Run a deployment again where it did not come through. Raises Exit as `run` does."""
        environment = self._selected(RETRY)
        with _exits():
            deployment = find_deployment(number or str(environment))
            if deployment.environment != environment:
                refuse(f"{deployment} is none of {environment}.")
            with refusals():
                recipe, wanted = options_to_retry(deployment, arguments)
            _see_through(environment, recipe, wanted, dry_run, takes_back)

    def upgrade(self, words: Words) -> None:
        """Upgrade packages here and show it. Raises Exit as `run` does."""
        environment = self._selected(UPGRADE)
        with _exits():
            upgrade(environment, words.read())

    def _selected(self, task: str) -> Environment:
        if self._environment is None:
            raise Exit(f"Say where, before {task}: fab production {task}", code=REFUSED)
        return self._environment


@contextmanager
def _exits() -> Iterator[None]:
    """Let a refusal end fab as it ends fab's own commands: words and an exit code."""
    try:
        yield
    except CommandError as error:
        raise Exit(clean(str(error)), code=error.returncode) from None


def _see_through(
    environment: Environment,
    recipe: str,
    wanted: DeploymentOptions,
    dry_run: bool,
    takes_back: bool,
) -> None:
    view = make_view(make_console(sys.stdout))
    plan = check_plan(environment, recipe, wanted)
    view.tell(describe(plan, wanted))
    if dry_run:
        rehearse(environment, recipe, as_planned(plan, wanted), view)
        return
    agree_to_take_back(plan, view, arguments=takes_back)
    ended = _request_and_work(plan, wanted, view)
    if ended.state != State.SUCCEEDED:
        show_how_to_retry(ended, f"fab {environment.name} {RETRY} --deployment={ended.pk}", view)
        raise Exit(code=FAILED)


def _request_and_work(plan: Plan, wanted: DeploymentOptions, view: Lines) -> Deployment:
    """Return how it ended. Raises CommandError where it is refused."""
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            deployment = request(
                plan.environment,
                plan.pipeline.name,
                source="fab",
                requested_by_name=who_asks(),
                options=as_planned(plan, wanted),
            )
        return _work_and_watch(deployment, view, interrupts)


def _work_and_watch(deployment: Deployment, view: Lines, interrupts: Interrupts) -> Deployment:
    """Run it in a thread and follow it here; Ctrl-C cancels, for nobody else would go on."""

    def cancel(now: Deployment) -> bool:
        now.request_cancel(who_asks())
        view.say("Cancelling: what runs is being stopped.")
        return True

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="deployment") as pool:
        work = pool.submit(_run_and_hang_up, deployment.pk)
        ended = Follower(deployment.pk, view, cancel, interrupts, work.done).follow()
        work.result()
    return ended


def _run_and_hang_up(deployment_id: int) -> None:
    try:
        run(deployment_id)
    finally:
        connections.close_all()
