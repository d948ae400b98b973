"""Schedules on a command line: listed, taken over, confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.deployments.owners import why_paused
from deploy_manager.models import Schedule


def find_schedules(number: str) -> list[Schedule]:
    """Return the schedule with this number, or all. Raises CommandError."""
    found = Schedule.objects.select_related("environment__project", "owner", "plan")
    if not number:
        return list(found)
    mine = found.filter(pk=int(number)).first() if number.isdecimal() else None
    if mine is None:
        refuse(f"There is no schedule {clean(number)}: `manage.py schedules` lists them.")
    return [mine]


@dataclass(frozen=True)
class SchedulesReport(Report):
    """What each schedule runs, in whose name, and why it is paused."""

    schedules: Sequence[Schedule]

    def print_on(self, view: View) -> None:
        if not self.schedules:
            view.remark("There is no schedule yet: add one in the admin, under its environment.")
            return
        table = make_table("number", "recipe", "environment", "cron", "owner", "paused")
        for each in self.schedules:
            table.add_row(
                str(each.pk),
                each.recipe,
                str(each.environment),
                clean(each.cron),
                clean(each.owner_name) or "nobody",
                clean(str(why_paused(each))) if each.is_enabled else "off",
                style="" if each.is_enabled else "dim",
            )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        for each in self.schedules:
            view.write(
                "schedule",
                number=each.pk,
                recipe=each.recipe,
                environment=str(each.environment),
                cron=each.cron,
                is_enabled=each.is_enabled,
                owner=each.owner_name,
                paused=why_paused(each),
            )
        view.write("summary", schedules=len(self.schedules))
