"""`manage.py schedules`: list schedules, give one an owner, or confirm it."""

from argparse import ArgumentParser
from typing import Any

from deploy_manager.cli.automatic import own
from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.deployments.schedules import SchedulesReport, find_schedules
from deploy_manager.cli.exits import refuse


class Command(ConsoleCommand):
    help = "List what runs by schedule and in whose name; take one over, or confirm it."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", nargs="?", default="", help="of one schedule; default: all")
        parser.add_argument(
            "--owner", default="", metavar="USERNAME", help="let it act in this user's name"
        )
        parser.add_argument(
            "--confirm", action="store_true", help="let it run what decides now, as it is"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        schedules = find_schedules(options["number"])
        if not options["owner"] and not options["confirm"]:
            view.show(SchedulesReport(schedules))
        elif options["number"]:
            own(schedules[0], view, owner=options["owner"])
            view.write("summary", schedule=schedules[0].pk, paused=schedules[0].paused)
        else:
            refuse("Name the schedule by its number: `manage.py schedules` lists them.")
