"""List upgrade policies: when each runs next and what its last run did; or run one now."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management import CommandError
from django.db import DatabaseError
from django.utils import timezone
from rich.table import Table

from deploy_manager import tasks
from deploy_manager.cli.asking import refuse
from deploy_manager.cli.base import ConsoleCommand
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.terminal import Lines
from deploy_manager.cli.text import clean
from deploy_manager.models import PolicyRun, UpgradePolicy
from deploy_manager.schedule.windows import check_zone
from deploy_manager.upgrades.policies import next_times

TITLES = ("policy", "how far", "environments", "next time", "last run", "outcome")


class Command(ConsoleCommand):
    help = "List the policies by which packages are upgraded by themselves, or run one now."

    def add_own_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="of one policy; default: all")
        parser.add_argument(
            "--run", action="store_true", help="look now for what it may upgrade, and begin that"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        view = self.make_view(options)
        policies = _find(options["name"])
        if options["run"]:
            if not options["name"]:
                refuse(f"Say which policy to run: {_names(policies)}.")
            _run(policies[0], view)
        elif isinstance(view, JsonLines):
            for policy in policies:
                view.write("policy", **_facts(policy))
        elif policies:
            view.list(_table(policies))
        else:
            view.say("There is no policy yet: add one in the admin.")


def _find(name: str) -> list[UpgradePolicy]:
    """Return all policies or the named one. Raises CommandError."""
    try:
        policies = list(UpgradePolicy.objects.prefetch_related("turns__environment__project"))
    except DatabaseError as error:
        raise CommandError(
            f"The policies can't be read: {error}. Has manage.py migrate been run?"
        ) from None
    found = [policy for policy in policies if not name or policy.name == name]
    if name and not found:
        refuse(f"There is no policy {name!r}. There are: {_names(policies)}.")
    return found


def _names(policies: list[UpgradePolicy]) -> str:
    return ", ".join(map(str, policies)) or "none yet; add one in the admin"


def _run(policy: UpgradePolicy, view: JsonLines | Lines) -> None:
    """Do here what a worker does, and tell what it says."""
    run = policy.runs.create(slot=timezone.now())
    tasks.run_policy(run.pk)
    run.refresh_from_db()
    if isinstance(view, JsonLines):
        upgrades = list(run.upgrades.order_by("pk").values_list("pk", flat=True))
        view.write("run", policy=policy.name, outcome=run.outcome, upgrades=upgrades)
    else:
        view.say(run.outcome)


def _facts(policy: UpgradePolicy) -> dict[str, Any]:
    last = _last_run(policy)
    following = _next_time(policy)
    return {
        "name": policy.name,
        "is_enabled": policy.is_enabled,
        "how_far": policy.how_far,
        "environments": _environments(policy),
        "next_time": following.isoformat() if isinstance(following, datetime) else None,
        "last_run": last.slot.isoformat() if last else None,
        "outcome": last.outcome if last else "",
    }


def _table(policies: list[UpgradePolicy]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for policy in policies:
        last = _last_run(policy)
        table.add_row(
            clean(policy.name),
            policy.how_far,
            ", ".join(_environments(policy)),
            _told(_next_time(policy), policy),
            _told(last.slot, policy) if last else "never",
            clean(last.outcome) if last else "",
            style="" if policy.is_enabled else "dim",
        )
    return table


def _environments(policy: UpgradePolicy) -> list[str]:
    return [str(turn.environment) for turn in policy.turns.all()]


def _last_run(policy: UpgradePolicy) -> PolicyRun | None:
    return policy.runs.order_by("-slot", "-pk").first()


def _next_time(policy: UpgradePolicy) -> datetime | str:
    """The next time, or why there is none."""
    if not policy.is_enabled:
        return "off"
    try:
        return next_times(policy, 1, timezone.now())[0]
    except ValueError as error:
        return str(error)


def _told(moment: datetime | str, policy: UpgradePolicy) -> str:
    if isinstance(moment, str):
        return moment
    return f"{moment.astimezone(check_zone(policy.time_zone)):%Y-%m-%d %H:%M %Z}"
