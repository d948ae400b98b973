"""`deploy`, `promote`, `rollback` and the like: planned, confirmed, sent, watched."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from typing import Any

from deploy_manager.client.commands.base import Command, connect
from deploy_manager.client.commands.finding import find_deployment, find_environment
from deploy_manager.client.commands.following import add_watching, follow_request
from deploy_manager.client.connection import Connection
from deploy_manager.client.exits import Refused
from deploy_manager.client.plans import agree, show_plan
from deploy_manager.client.texts import clean
from deploy_manager.client.views import View


def plan(given: Namespace, view: View) -> int:
    """Show what a request would do."""
    connection = connect(given)
    show_plan(_plan(connection, given, given.recipe), view)
    view.write("summary", state="planned")
    return 0


def request(recipe: str, given: Namespace, view: View) -> int:
    """Plan it, have the plan confirmed, request exactly that, and watch it."""
    connection = connect(given)
    recipe = recipe or given.recipe
    planned = _plan(connection, given, recipe)
    show_plan(planned, view)
    agreed = agree(
        planned,
        view,
        take_back=given.take_back,
        leave_others=given.leave_others,
        yes=given.yes,
    )
    body = {
        **_asked(connection, given, recipe),
        **_occasion(given),
        **agreed,
        "shown": planned["shown"],
    }
    return follow_request(connection, view, given, ("deployments",), body)


def retry(given: Namespace, view: View) -> int:
    """Run a deployment again on the servers where it did not succeed."""
    connection = connect(given)
    number = find_deployment(connection, given.deployment)
    before = connection.get("deployments", number)
    if view.can_ask and not given.yes:
        what = clean(f"{before['recipe']} #{number} on {before['environment']}")
        if view.ask(f"Run {what} again? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Refused("Not confirmed, so nothing was requested.")
    body = {**_occasion(given), "take_back": given.take_back, "break_glass": given.break_glass}
    return follow_request(connection, view, given, ("deployments", number, "retry"), body)


def _plan(connection: Connection, given: Namespace, recipe: str) -> dict[str, Any]:
    planned: dict[str, Any] = connection.post("plans", body=_asked(connection, given, recipe))
    return planned


def _asked(connection: Connection, given: Namespace, recipe: str) -> dict[str, object]:
    """Return what is to be run, and where."""
    given.environment = find_environment(connection, given.environment)
    asked: dict[str, object] = {
        "environment": given.environment,
        "recipe": recipe,
        "ref": getattr(given, "ref", ""),
        "servers": given.server,
        "to": getattr(given, "to", ""),
        "forced_migrations": getattr(given, "force_migration", []),
        "arguments": getattr(given, "words", []),
        "break_glass": given.break_glass,
    }
    if recipe == "promote":
        asked |= {"recipe": "deploy", "promote": True, "from": getattr(given, "source", "")}
    return asked


def _occasion(given: Namespace) -> dict[str, object]:
    return {"reason": given.reason, "wait": given.queue, "at": given.at}


def _add_environment(parser: ArgumentParser) -> None:
    parser.add_argument("environment", help="like shop/production; or production, if one has it")


def _add_servers(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="NAME",
        help="run on this server only; may be repeated",
    )


def _add_glass(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--break-glass",
        action="store_true",
        help="run without the approvals that are needed; --reason is told to everybody",
    )


def _add_occasion(parser: ArgumentParser) -> None:
    """Add why, when, and what is agreed to in advance."""
    parser.add_argument("--reason", default="", help="reason, shown in the history")
    parser.add_argument(
        "--queue",
        action="store_true",
        help="if it may not run now, let it wait until it may, instead of being refused",
    )
    parser.add_argument(
        "--at",
        default="",
        metavar="'2026-11-24 02:00'",
        help="do not start earlier; in the environment's time zone unless it has an offset",
    )
    parser.add_argument("--yes", action="store_true", help="on a terminal: unasked, as shown")
    parser.add_argument(
        "--take-back",
        action="store_true",
        help="agree to take back what an upgrade or a fix brought",
    )
    _add_glass(parser)
    add_watching(parser)


def _add_request(parser: ArgumentParser) -> None:
    _add_environment(parser)
    _add_occasion(parser)
    parser.add_argument(
        "--leave-others",
        action="store_true",
        help="agree that the other servers go on serving another commit",
    )


def _add_ref(parser: ArgumentParser) -> None:
    parser.add_argument("--ref", default="", help="branch, tag or commit to deploy, only this time")


def _add_release(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        default="",
        metavar="RELEASE",
        help="name of a release, or the beginning of its commit; default: the last good one before",
    )
    parser.add_argument(
        "--force-migration",
        action="append",
        default=[],
        metavar="app.0001_name",
        help="do not reverse this irreversible migration; may be repeated",
    )


def _add_source(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="source",
        default="",
        metavar="ENVIRONMENT",
        help="take what this one serves; default: the one that is set there",
    )


def _add_plan(parser: ArgumentParser) -> None:
    _add_environment(parser)
    parser.add_argument("--recipe", default="deploy", help="or promote, rollback, …: %(default)s")
    _add_servers(parser)
    _add_ref(parser)
    _add_release(parser)
    _add_source(parser)
    _add_glass(parser)


def _add_converge(parser: ArgumentParser) -> None:
    _add_request(parser)
    parser.add_argument("server", nargs="+", metavar="SERVER")


def _add_recipe(parser: ArgumentParser) -> None:
    _add_environment(parser)
    parser.add_argument("recipe", help="a recipe or a pipeline, like ping or maintenance_up")
    _add_occasion(parser)
    parser.set_defaults(leave_others=False)
    _add_servers(parser)


def _all(*adders: Callable[[ArgumentParser], None]) -> Callable[[ArgumentParser], None]:
    def add(parser: ArgumentParser) -> None:
        for adder in adders:
            adder(parser)

    return add


def _add_retry(parser: ArgumentParser) -> None:
    parser.add_argument("deployment", help="its number; or an environment: the newest there")
    _add_occasion(parser)


COMMANDS = (
    Command("plan", "show what a deployment would do", plan, _add_plan),
    Command(
        "deploy",
        "deploy an environment and watch it",
        partial(request, "deploy"),
        _all(_add_request, _add_servers, _add_ref),
    ),
    Command(
        "promote",
        "let an environment serve exactly what the one before it serves",
        partial(request, "promote"),
        _all(_add_request, _add_servers, _add_source),
    ),
    Command(
        "rollback",
        "let an environment serve an earlier release again",
        partial(request, "rollback"),
        _all(_add_request, _add_servers, _add_release),
    ),
    Command(
        "converge",
        "bring servers to the release that most others serve",
        partial(request, "converge"),
        _add_converge,
    ),
    Command("recipe", "run a recipe or a pipeline", partial(request, ""), _add_recipe),
    Command("retry", "run a deployment again where it did not succeed", retry, _add_retry),
)
