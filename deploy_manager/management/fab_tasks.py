"""Recipes from fab: the same rows, with this very process as the worker."""

import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from django.core.management import CommandError
from django.db import connections
from invoke import program
from invoke.collection import Collection
from invoke.exceptions import Exit
from invoke.tasks import Task

from deploy_manager.exceptions import DeployManagerError
from deploy_manager.management.asking import REFUSED, check_plan, make_console, who_asks
from deploy_manager.management.environments import all_environments
from deploy_manager.management.following import Follower, Interrupts
from deploy_manager.management.short_plan import describe
from deploy_manager.management.terminal import Lines, make_view
from deploy_manager.models import Deployment, Environment, State
from deploy_manager.recipes import Story, all_stories
from deploy_manager.runner import Plan, request, run

FAILED = 1
"""Exit code."""


class ExactNames(Collection):
    """Tasks under the names they have: `checkout_latest` is not made `checkout-latest`."""

    def transform(self, name: str) -> str:
        return name


class Selection:
    """What the tasks of one command line share: the environment that was said last."""

    def __init__(self) -> None:
        self._environment: Environment | None = None

    def select(self, environment: Environment) -> None:
        self._environment = environment

    def run(self, story: Story, ref: str, servers: Sequence[str], reason: str) -> None:
        """Run it here and show it. Raises Exit: 2 where it is refused, 1 where it failed."""
        if self._environment is None:
            raise Exit(f"Say where, before {story.name}: fab production {story.name}", code=REFUSED)
        view = make_view(make_console(sys.stdout))
        try:
            plan = check_plan(self._environment, story.name, ref, servers)
            view.tell(describe(plan))
            state = _request_and_work(plan, ref, servers, reason, view)
        except CommandError as error:
            raise Exit(str(error), code=error.returncode) from None
        except DeployManagerError as error:
            raise Exit(str(error), code=REFUSED) from None
        if state != State.SUCCEEDED:
            raise Exit(code=FAILED)


def make_namespace() -> Collection:
    """Return the tasks: one for each environment, one for each recipe and story.

    Where the tables can't be read yet it says so, and the recipes can still be listed.
    """
    # fab builds its collection anew with the names dashed, and has read the setting for that
    # before any fabfile could say otherwise (invoke 2.2, Program.load_collection).
    setattr(program, "Collection", ExactNames)  # noqa: B010  it exports no such name
    selection, namespace = Selection(), ExactNames()
    stories = list(all_stories())
    try:
        environments = all_environments()
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        environments = []
    for name, environment in name_environments(environments, {story.name for story in stories}):
        namespace.add_task(_environment_task(selection, environment), name=name)
    for story in stories:
        namespace.add_task(_recipe_task(selection, story), name=story.name)
    return namespace


def name_environments(
    environments: Sequence[Environment], taken: set[str]
) -> list[tuple[str, Environment]]:
    """Return each with the shortest name that can mean nothing else, not even in another way.

    `production`, or `shop-production` where several projects have one. Where a project `shop`
    and a project `shop-eu` would both be meant by `shop-eu-production`: `shop-eu/production`.
    """
    names = [_names(environment) for environment in environments]
    times = Counter([*taken, *chain.from_iterable(names)])
    return [
        (next(name for name in known if times[name] == 1), environment)
        for known, environment in zip(names, environments, strict=True)
    ]


def _names(environment: Environment) -> tuple[str, ...]:
    """From the shortest to the one that no other can have: no part of it has a slash."""
    return environment.name, f"{environment.project.name}-{environment.name}", str(environment)


def _environment_task(selection: Selection, environment: Environment) -> Task[Any]:
    def body(context: Any) -> None:
        selection.select(environment)

    body.__doc__ = f"Run what follows on {environment}"
    return Task(body, name=environment.name)


def _recipe_task(selection: Selection, story: Story) -> Task[Any]:
    def body(
        context: Any, ref: str = "", server: list[str] | None = None, reason: str = ""
    ) -> None:
        selection.run(story, ref, server or (), reason)

    body.__doc__ = story.title
    told = {
        "ref": "branch, tag or commit, for this time only",
        "server": "only this one; may be repeated",
        "reason": "why; stands in the history",
    }
    return Task(body, name=story.name, iterable=["server"], auto_shortflags=False, help=told)


def _request_and_work(
    plan: Plan, ref: str, servers: Sequence[str], reason: str, view: Lines
) -> str:
    """Return how it ended. Raises RequestRefused."""
    interrupts = Interrupts()
    with interrupts.noted():
        deployment = request(
            plan.environment,
            plan.story.name,
            door="fab",
            requested_as=who_asks(),
            ref=ref,
            commit=plan.commit.hash if plan.commit else "",
            servers=servers,
            reason=reason,
        )
        return _work_and_watch(deployment, view, interrupts).state


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
