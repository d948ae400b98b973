"""`manage.py secret`: set, list and delete the secret variables of an environment."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.exits import refuse
from deploy_manager.cli.inventory.secret_variables import (
    WHEN_IT_REACHES,
    SecretsReport,
    put_secret,
    read_value,
    seal_plain,
)
from deploy_manager.cli.views.base import View
from deploy_manager.models import Environment
from deploy_manager.requester import requester_name


class Command(EnvironmentCommand):
    help = (
        "Set a secret variable of an environment: its value is read from standard input, or asked"
        " for, and never shown again."
    )

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="name of the variable")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--from-file", default="", metavar="PATH", help="read its value there")
        what.add_argument("--list", action="store_true", help="show names, never values")
        what.add_argument("--delete", action="store_true", help="delete it")
        what.add_argument(
            "--seal",
            action="store_true",
            help="make a plain variable secret; without a name: all that look like secrets",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        environment, view = self.find_environment(options), self.make_view(options)
        name = options["name"]
        if options["list"] or not (name or options["seal"]):
            view.show(SecretsReport(environment))
        elif options["seal"]:
            sealed = seal_plain(environment, [name] if name else [], requester_name())
            self._say(view, f"Sealed: {', '.join(sealed) or 'nothing'}.", "sealed", sealed)
        elif options["delete"]:
            self._delete(environment, name, view)
        else:
            value = read_value(name, options["from_file"])
            is_new = put_secret(environment, name, value, requester_name())
            done = "set" if is_new else "changed"
            self._say(view, f"{name} was {done}. {WHEN_IT_REACHES}", done, [name])

    def _delete(self, environment: Environment, name: str, view: View) -> None:
        deleted, _rows = environment.secret_variables.filter(name=name).delete()
        if not deleted:
            refuse(f"{environment} has no secret variable {name}.")
        self._say(view, f"{name} was deleted. {WHEN_IT_REACHES}", "deleted", [name])

    def _say(self, view: View, text: str, state: str, names: list[str]) -> None:
        view.say(text)
        view.write("summary", state=state, names=names)
