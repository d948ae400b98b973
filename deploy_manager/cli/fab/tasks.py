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
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.tasks import Task

from deploy_manager.cli.deployments.options import HELP as OF_DEPLOYMENTS
from deploy_manager.cli.fab.selection import PROMOTE, RETRY, UPGRADE, Selection
from deploy_manager.cli.inventory.environments import all_environments
from deploy_manager.cli.text import as_text, clean
from deploy_manager.cli.upgrades.help import HELP as OF_UPGRADES
from deploy_manager.cli.upgrades.help import REACH_HELP
from deploy_manager.deployments.arguments import Arguments
from deploy_manager.logs import plain
from deploy_manager.models import Environment
from deploy_manager.models.deployments import CONVERGE, DEPLOY, MANAGE_SITE
from deploy_manager.recipes import Pipeline, Uses, all_pipelines

HELP = {
    **OF_DEPLOYMENTS,
    "force_migration": "do not reverse the irreversible migration app.0001_name; may be repeated",
    "source": OF_DEPLOYMENTS["from"],
    "deployment": "number of the deployment; default: the environment's newest",
}
HELP_FOR_UPGRADE = {
    **OF_UPGRADES,
    "package": f"{OF_UPGRADES['package']}; may be repeated",
    **REACH_HELP,
}
Body = Callable[..., None]


class ExactNames(Collection):
    """Keeps the names of tasks: `checkout_latest` does not become `checkout-latest`."""

    def transform(self, name: str) -> str:
        return name


class HelpfulParser(Parser):
    """Lists the environments if a word is neither one of them nor a task."""

    environments: Sequence[str] = ()

    def parse_argv(self, argv: list[str]) -> Any:
        try:
            return super().parse_argv(argv)
        except ParseError as error:
            if not str(error).startswith("No idea what") or "'-" in str(error):
                raise
            names = ", ".join(self.environments) or "none yet; add one in the admin"
            text = f"{error} Environments: {names}. `fab --list` lists everything."
            raise ParseError(text, error.context) from None


def make_namespace() -> Collection:
    """Return a task for each environment, each recipe and pipeline, and what else is requested.

    If the tables can't be read yet, it prints so, and the recipes can still be listed.
    """
    # fab builds its collection anew with the names dashed, and has read the setting for that
    # before any fabfile could say otherwise (invoke 2.2, Program.load_collection).
    setattr(program, "Collection", ExactNames)  # noqa: B010  it exports no such name
    selection, namespace = Selection(), ExactNames()
    tasks = {pipeline.name: _recipe_task(selection, pipeline) for pipeline in all_pipelines()}
    tasks.setdefault(RETRY, _retry_task(selection))
    tasks.setdefault(PROMOTE, _promote_task(selection))
    tasks[UPGRADE] = _upgrade_task(selection)
    try:
        environments = all_environments()
    except CommandError as error:
        sys.stderr.write(f"{clean(str(error))}\n")
        environments = []
    named = name_environments(environments, set(tasks))
    for name, environment in named:
        namespace.add_task(_environment_task(selection, environment), name=plain(name))
    HelpfulParser.environments = [plain(name) for name, _environment in named]
    # fab makes its parser of the tasks after it has read the fabfile.
    setattr(program, "Parser", HelpfulParser)  # noqa: B010  it exports no such name
    for name, task in tasks.items():
        namespace.add_task(task, name=name)
    return namespace


def name_environments(
    environments: Sequence[Environment], taken: set[str]
) -> list[tuple[str, Environment]]:
    """Return each with its shortest name that cannot mean another environment or a task.

    `production`, or `shop-production` if several projects have one. If `shop-eu-production` could
    also be the environment `eu-production` of a project `shop`: `shop-eu/production`.
    """
    # From the shortest to the one that no other can have, as no part of it contains a slash.
    names = [(each.name, f"{each.project.name}-{each.name}", str(each)) for each in environments]
    times = Counter([*taken, *chain.from_iterable(names)])
    return [
        (next(name for name in known if times[name] == 1), environment)
        for known, environment in zip(names, environments, strict=True)
    ]


def _environment_task(selection: Selection, environment: Environment) -> Task[Any]:
    def body(context: Any) -> None:
        selection.select(environment)

    title = plain(f"Run the tasks that follow on {environment}")
    return _task(body, plain(environment.name), title)


def _recipe_task(selection: Selection, pipeline: Pipeline) -> Task[Any]:
    def body(
        context: Any,
        ref: str = "",
        server: list[str] | None = None,
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
        leave_others: bool = False,
        break_glass: bool = False,
    ) -> None:
        arguments = Arguments(
            ref=ref, servers=server or (), reason=reason, breaks_glass=break_glass
        )
        selection.run(pipeline.name, arguments, dry_run, take_back, leave_others)

    def body_with_release(
        context: Any,
        to: str = "",
        force_migration: list[str] | None = None,
        server: list[str] | None = None,
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
        break_glass: bool = False,
    ) -> None:
        arguments = Arguments(
            servers=server or (),
            reason=reason,
            to=to,
            forced_migrations=force_migration or (),
            breaks_glass=break_glass,
        )
        selection.run(pipeline.name, arguments, dry_run, take_back)

    def body_with_command(
        context: Any,
        command: str,
        server: list[str] | None = None,
        reason: str = "",
        dry_run: bool = False,
    ) -> None:
        selection.run_command(command, Arguments(servers=server or (), reason=reason), dry_run)

    if pipeline.name == MANAGE_SITE:
        return _task(body_with_command, pipeline.name, pipeline.title)
    goes_back = pipeline.uses is Uses.GIVEN and pipeline.name != CONVERGE
    return _task(body_with_release if goes_back else body, pipeline.name, pipeline.title)


def _promote_task(selection: Selection) -> Task[Any]:
    def body(
        context: Any,
        source: str = "",
        server: list[str] | None = None,
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
        leave_others: bool = False,
        break_glass: bool = False,
    ) -> None:
        arguments = Arguments(
            servers=server or (),
            reason=reason,
            breaks_glass=break_glass,
            promotes=True,
            source=source,
        )
        selection.run(DEPLOY, arguments, dry_run, take_back, leave_others)

    return _task(body, PROMOTE, "Deploy exactly what another environment serves")


def _retry_task(selection: Selection) -> Task[Any]:
    def body(
        context: Any,
        deployment: str = "",
        reason: str = "",
        dry_run: bool = False,
        take_back: bool = False,
    ) -> None:
        selection.retry(deployment, Arguments(reason=reason), dry_run, take_back)

    return _task(body, RETRY, "Run a deployment again on the servers that did not succeed")


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
        take_back: bool = False,
    ) -> None:
        reaches = {"security": security, "patch": patch, "minor": minor, "latest": latest}
        selection.upgrade(package or (), reaches, soak, cooldown, reason, dry_run, take_back)

    return _task(body, UPGRADE, "Upgrade packages", HELP_FOR_UPGRADE)


def _task(body: Body, name: str, title: str, texts: Mapping[str, str] = HELP) -> Task[Any]:
    @wraps(body)
    def run(context: Any, **arguments: Any) -> None:
        body(context, **{each: as_text(value) for each, value in arguments.items()})

    run.__doc__ = title
    # invoke refuses help for an option that the signature does not have.
    _context, *options = signature(body).parameters
    return Task(
        run,
        name=name,
        iterable=["server", "force_migration", "package"],
        # Else a short flag, and its meaning, would change with each new option.
        auto_shortflags=False,
        help={each: texts[each] for each in options},
    )
