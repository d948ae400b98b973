"""List what upgrades hold over an environment's repository, and let one go."""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from deploy_manager.cli.asking import refusals, refuse, who_asks
from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.moments import describe_moment
from deploy_manager.cli.packages.pin_changes import FLAG, agrees, describe_pin, pin_as_json
from deploy_manager.cli.text import clean
from deploy_manager.models import Environment, Override
from deploy_manager.packages.overrides import let_go, what_comes_back

TITLES = ("package", "version", "repository had", "since", "why", "fixes", "upgrade", "state")


class Command(EnvironmentCommand):
    help = (
        "List what upgrades moved and the repository does not have yet: it holds over the"
        " repository's pins, whatever is deployed. With --let-go one is given up."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="those that ended, too")
        parser.add_argument(
            "--let-go", metavar="PACKAGE", default="", help="take the repository's pin again"
        )
        parser.add_argument("--reason", default="", help="why it is let go; stands in the history")
        parser.add_argument(
            FLAG, action="store_true", help="let it go though a known advisory comes back"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        view = self.make_view(options)
        if options["let_go"]:
            _let_go(environment, options, view)
        else:
            _list(environment, view, with_ended=options["all"])


def _let_go(environment: Environment, options: dict[str, Any], view: JsonLines | Lines) -> None:
    """Raises CommandError (exit code 2) where an advisory comes back and nobody agrees."""
    name = options["let_go"]
    pin = what_comes_back(environment, name)
    if pin.advisories and options["reason"].strip() and not options["take_back"]:
        told = clean(describe_pin(pin))
        if not agrees(f"Let go: {told}? [y/N] ", view):
            refuse(f"A known advisory would come back: {told}. Say {FLAG} to agree.")
    with refusals():
        let_go(environment, name, by=who_asks(), reason=options["reason"])
    if isinstance(view, JsonLines):
        view.write("let_go", environment=str(environment), **pin_as_json(pin))
    else:
        view.say(f"The next deployment takes the repository's pin: {describe_pin(pin)}.")


def _list(environment: Environment, view: JsonLines | Lines, *, with_ended: bool) -> None:
    found = environment.overrides.select_related("upgrade")
    rows = list(found if with_ended else found.live())
    if isinstance(view, JsonLines):
        for row in rows:
            view.write("override", **_facts(row))
    elif rows:
        view.list(_table(environment, rows))
        if environment.pins_from != Environment.PinsFrom.COMMIT:
            view.say("They rest: the pins are listed on the environment, not in the repository.")
    else:
        view.say(f"Nothing is held over the repository of {environment}.")


def _facts(row: Override) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "marker": row.marker,
        "before": row.before,
        "why": row.why,
        "fixes": row.fixes,
        "since": row.since.isoformat(),
        "upgrade": row.upgrade_id,
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "ended_how": row.ended_how,
        "ended_why": row.ended_why,
        "ended_by": row.ended_by_name,
    }


def _table(environment: Environment, rows: Sequence[Override]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for row in rows:
        state = "holds" if row.is_live else f"{row.get_ended_how_display()}: {row.ended_why}"
        marker = f" ; {row.marker}" if row.marker else ""
        table.add_row(
            clean(f"{row.name}{marker}"),
            clean(row.version or "removed"),
            clean(row.before_told or "-"),
            describe_moment(row.since, environment),
            clean(row.why),
            clean(row.fixes_told),
            f"#{row.upgrade_id}" if row.upgrade_id else "-",
            clean(state),
        )
    return table
