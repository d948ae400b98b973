"""The work of a fab command line: the same rows as every source, carried out by this process."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from django.core.management import CommandError
from django.db import connections
from invoke.exceptions import Exit

from deploy_manager.cli.console import make_console
from deploy_manager.cli.deployments.find import find_deployment
from deploy_manager.cli.deployments.following import Follower, Interrupts
from deploy_manager.cli.deployments.plan import PlanReport, agree_to_part
from deploy_manager.cli.deployments.watching import show_how_to_retry
from deploy_manager.cli.exits import FAILED, REFUSED, refusals, refuse
from deploy_manager.cli.packages.pins import agree_to_take_back
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import View
from deploy_manager.cli.views.terminal import make_view
from deploy_manager.deployments.arguments import Arguments, options_for, options_to_retry
from deploy_manager.deployments.checking import as_planned, check_plan
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.deployments.site_commands import split_words
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.models.deployments import MANAGE_SITE
from deploy_manager.requester import requester_name

RETRY, UPGRADE, PROMOTE = "retry", "upgrade", "promote"


class Selection:
    """The environment that the tasks of one command line share: the one named last."""

    def __init__(self) -> None:
        self._environment: Environment | None = None

    def select(self, environment: Environment) -> None:
        self._environment = environment

    def run(
        self,
        recipe: str,
        arguments: Arguments,
        dry_run: bool,
        take_back: bool = False,
        leave_others: bool = False,
    ) -> None:
        """Run a recipe. Raises Exit: code 2 if it is refused, 1 if it does not succeed."""
        environment = self._selected(recipe)
        with _exits():
            with refusals():
                options = options_for(environment, recipe, arguments)
            _plan_and_run(environment, recipe, options, dry_run, take_back, leave_others)

    def run_command(self, command: str, arguments: Arguments, dry_run: bool) -> None:
        """Run a management command of the site once, typed in one piece. Raises Exit like `run`."""
        with _exits(), refusals():
            arguments = replace(arguments, words=split_words(command))
        self.run(MANAGE_SITE, arguments, dry_run)

    def retry(
        self, number: str, arguments: Arguments, dry_run: bool, take_back: bool = False
    ) -> None:
        """Run a deployment again on the servers that did not succeed. Raises Exit like `run`."""
        environment = self._selected(RETRY)
        with _exits():
            deployment = find_deployment(number or str(environment))
            if deployment.environment != environment:
                refuse(f"{deployment} is not a deployment of {environment}.")
            with refusals():
                recipe, options = options_to_retry(deployment, arguments)
            _plan_and_run(environment, recipe, options, dry_run, take_back)

    def upgrade(
        self,
        packages: Sequence[str],
        reaches: Mapping[str, bool],
        soak: str,
        cooldown: str,
        reason: str,
        dry_run: bool,
        take_back: bool,
    ) -> None:
        """Upgrade packages. Raises Exit like `run`."""
        from deploy_manager.cli.fab.upgrade import Words, upgrade

        environment = self._selected(UPGRADE)
        words = Words(packages, reaches, soak, cooldown, reason, dry_run, take_back)
        with _exits():
            upgrade(environment, words.read())

    def _selected(self, task: str) -> Environment:
        if self._environment is None:
            raise Exit(
                f"Name an environment before {task}, like: fab production {task}", code=REFUSED
            )
        return self._environment


@contextmanager
def _exits() -> Iterator[None]:
    """Turn a refusal into fab's own way to end: a message and an exit code."""
    try:
        yield
    except CommandError as error:
        raise Exit(clean(str(error)), code=error.returncode) from None


def _plan_and_run(
    environment: Environment,
    recipe: str,
    options: DeploymentOptions,
    dry_run: bool,
    take_back: bool,
    leave_others: bool = False,
) -> None:
    view = make_view(make_console(sys.stdout))
    with refusals():
        plan = check_plan(environment, recipe, options)
    view.show(PlanReport(plan, options))
    if dry_run:
        from deploy_manager.cli.deployments.dry_run import show_dry_run

        show_dry_run(environment, recipe, as_planned(plan, options), view)
        return
    agree_to_take_back(plan.to_confirm, view, agreed=take_back)
    agree_to_part(plan, options, view, agreed=leave_others)
    interrupts = Interrupts()
    with interrupts.noted():
        with refusals():
            deployment = request(
                environment,
                plan.pipeline.name,
                source="fab",
                requested_by_name=requester_name(),
                options=as_planned(plan, options),
            )
        ended = _work_and_watch(deployment, view, interrupts)
    if ended.state == State.WAITING:
        # A worker takes it up once it may: this process does not stay for that.
        view.remark(str(ended.message))
    if ended.state != State.SUCCEEDED:
        show_how_to_retry(ended, f"fab {environment.name} {RETRY} --deployment={ended.pk}", view)
        raise Exit(code=FAILED)


def _work_and_watch(deployment: Deployment, view: View, interrupts: Interrupts) -> Deployment:
    """Run it in a thread and follow it here. Ctrl-C cancels: no other process would go on."""

    def work() -> None:
        try:
            run(deployment.pk)
        finally:
            # Django keeps a connection for each thread, and closes those of requests only.
            connections.close_all()

    def stop(now: Deployment) -> bool:
        cancel(now, requester_name())
        view.say("Cancelling: what runs is being stopped.")
        return True

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="deployment") as pool:
        working = pool.submit(work)
        ended = Follower(deployment.pk, view, stop, interrupts, working.done).follow()
        working.result()
    return ended
