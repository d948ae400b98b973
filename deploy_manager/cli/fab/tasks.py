"""Every environment and every recipe as a task of fab."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from itertools import chain
from typing import Any

from django.core.management import CommandError
from invoke import program
from invoke.collection import Collection
from invoke.tasks import Task

from deploy_manager.cli.deployments.options import CONVERGE, Arguments
from deploy_manager.cli.fab.upgrade import Words
from deploy_manager.cli.fab.work import RETRY, UPGRADE, Selection
from deploy_manager.cli.inventory.environments import all_environments
from deploy_manager.cli.packages.pin_changes import HELP_TO_TAKE_BACK
from deploy_manager.cli.text import as_text, clean
from deploy_manager.cli.upgrades.options import HELP as OF_UPGRADE
from deploy_manager.cli.upgrades.options import REACHES
from deploy_manager.logs import plain
from deploy_manager.models import Environment
from deploy_manager.recipes import Pipeline, Uses, all_pipelines

HELP = {
    "ref": "branch, tag or commit, for this time only",
    "server": "only this one; may be repeated",
    "reason": "why; stands in the history",
    "to": "a release's name, or the beginning of its commit; default: the good one before",
    "force_migration": "leave app.0001_name as it is, though it can't be reversed; may be repeated",
    "deployment": "its number; default: the newest of the environment",
    "dry_run": "show each command; touch no server",
    "take_back": HELP_TO_TAKE_BACK,
}
HELP_TO_UPGRADE = {
    **OF_UPGRADE,
    "package": "like django==5.2.8, or celery; may be repeated; none: all of them",
    "soak": f"{OF_UPGRADE['soak']} (seconds)",
    "cooldown": f"{OF_UPGRADE['cooldown']} (days)",
    **{name: words for name, (_reach, words) in REACHES.items()},
}
Body = Callable[..., None]


class ExactNames(Collection):
    """Tasks under the names they have: `checkout_latest` is not made `checkout-latest`."""

    def transform(self, name: str) -> str:
        return name


def make_namespace() -> Collection:
    """Return the tasks: one for each environment, one for each recipe and pipeline, and `retry`.

    Where the tables can't be read yet it says so, and the recipes can still be listed.
    """
    # fab builds its collection anew with the names dashed, and has read the setting for that
    # before any fabfile could say otherwise (invoke 2.2, Program.load_collection).
    setattr(program, "Collection", ExactNames)  # noqa: B010  it exports no such name
    selection, namespace = Selection(), ExactNames()
    tasks = {pipeline.name: _recipe_task(selection, pipeline) for pipeline in all_pipelines()}
    tasks.setdefault(RETRY, _retry_task(selection))
    tasks[UPGRADE] = _upgrade_task(selection)
    try:
        environments = all_environments()
    except CommandError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        environments = []
    for name, environment in name_environments(environments, set(tasks)):
        namespace.add_task(_environment_task(selection, environment), name=plain(name))
    for name, task in tasks.items():
        namespace.add_task(task, name=name)
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

    return _task(body, plain(environment.name), plain(f"Run what follows on {environment}"))


def _recipe_task(selection: Selection, pipeline: Pipeline) -> Task[Any]:
    def body(
        context: Any,
        ref: str = "",
        server: list[str] | None = None,
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
    ) -> None:
        arguments = Arguments(ref=ref, servers=server or (), reason=reason)
        selection.run(pipeline.name, arguments, dry_run, take_back)

    def body_with_release(
        context: Any,
        to: str = "",
        force_migration: list[str] | None = None,
        server: list[str] | None = None,
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
    ) -> None:
        forced = force_migration or ()
        arguments = Arguments(servers=server or (), reason=reason, to=to, forced_migrations=forced)
        selection.run(pipeline.name, arguments, dry_run, take_back)

    goes_back = pipeline.uses is Uses.GIVEN and pipeline.name != CONVERGE
    return _task(body_with_release if goes_back else body, pipeline.name, pipeline.title)


def _retry_task(selection: Selection) -> Task[Any]:
    def body(
        context: Any,
        deployment: str = "",
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
    ) -> None:
        selection.retry(deployment, Arguments(reason=reason), dry_run, take_back)

    return _task(body, RETRY, "Run a deployment again where it did not come through")


def _upgrade_task(selection: Selection) -> Task[Any]:
    def body(
        context: Any,
        package: list[str] | None = None,
        security: bool = False,
        patch: bool = False,
        minor: bool = False,
        latest: bool = False,
        soak: str = "0",
        cooldown: str = "0",
        reason: str = "",
        dry_run: bool = False,
    ) -> None:
        reaches = {"security": security, "patch": patch, "minor": minor, "latest": latest}
        words = Words(package or (), reaches, soak, cooldown, reason, dry_run)
        selection.upgrade(words)

    return _task(body, UPGRADE, "Upgrade packages", HELP_TO_UPGRADE)


def _task(body: Body, name: str, title: str, words: Mapping[str, str] = HELP) -> Task[Any]:
    @wraps(body)
    def take_words(context: Any, **arguments: Any) -> None:
        body(context, **{each: as_text(word) for each, word in arguments.items()})

    take_words.__doc__ = title
    _context, *taken = signature(body).parameters
    return Task(
        take_words,
        name=name,
        iterable=["server", "force_migration", "package"],
        auto_shortflags=False,
        help={each: words[each] for each in taken},
    )
