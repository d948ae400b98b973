"""Upgrade policies on a command line: listed, and run now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.core.management import CommandError
from django.db import DatabaseError
from django.utils import timezone

from deploy_manager import tasks
from deploy_manager.cli.exits import refuse
from deploy_manager.cli.text import clean
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.deployments.owners import why_paused
from deploy_manager.models import PolicyRun, UpgradePolicy
from deploy_manager.schedule.windows import zone_or_utc
from deploy_manager.upgrades.policies import next_times


def find_policies(name: str) -> list[UpgradePolicy]:
    """Return the policy with this name, or all. Raises CommandError."""
    try:
        policies = list(
            UpgradePolicy.objects.select_related("owner").prefetch_related(
                "turns__environment__project"
            )
        )
    except DatabaseError as error:
        raise CommandError(
            f"The policies can't be read: {error}. Has manage.py migrate been run?"
        ) from None
    found = [policy for policy in policies if not name or policy.name == name]
    if name and not found:
        refuse(f"There is no policy {name!r}. Policies: {policy_names(policies)}.")
    return found


def policy_names(policies: Sequence[UpgradePolicy]) -> str:
    return ", ".join(map(str, policies)) or "none yet; add one in the admin"


def run_policy(policy: UpgradePolicy, view: View) -> None:
    """Run a policy in this process, and show the outcome. Raises CommandError."""
    if not policy.turns.exists():
        refuse(f"{policy} has no environments: add one in the admin, under its environments.")
    run = policy.runs.create(slot=timezone.now())
    tasks.run_policy(run.pk)
    run.refresh_from_db()
    upgrades = list(run.upgrades.order_by("pk").values_list("pk", flat=True))
    view.write("run", policy=policy.name, outcome=run.outcome, upgrades=upgrades)
    view.remark(str(run.outcome))
    view.write("summary", policy=policy.name, upgrades=upgrades)


@dataclass(frozen=True)
class PoliciesReport(Report):
    """When each policy runs next, and the outcome of its last run."""

    policies: Sequence[UpgradePolicy]

    def print_on(self, view: View) -> None:
        if not self.policies:
            view.remark("There is no policy yet: add one in the admin.")
            return
        table = make_table(
            *("policy", "how far", "environments", "owner"),
            *("next time", "last run", "outcome"),
        )
        for policy in self.policies:
            last = _last_run(policy)
            table.add_row(
                clean(policy.name),
                policy.how_far,
                ", ".join(_environments(policy)),
                clean(policy.owner_name) or "nobody",
                _describe_time(_next_time(policy), policy),
                _describe_time(last.slot, policy) if last else "never",
                clean(_outcome(policy, last)),
                style="" if policy.is_enabled else "dim",
            )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        for policy in self.policies:
            last, following = _last_run(policy), _next_time(policy)
            view.write(
                "policy",
                name=policy.name,
                is_enabled=policy.is_enabled,
                how_far=policy.how_far,
                environments=_environments(policy),
                owner=policy.owner_name,
                paused=why_paused(policy) if policy.is_enabled else "",
                next_time=following.isoformat() if isinstance(following, datetime) else None,
                last_run=last.slot.isoformat() if last else None,
                outcome=last.outcome if last else "",
            )
        view.write("summary", policies=len(self.policies))


def _outcome(policy: UpgradePolicy, last: PolicyRun | None) -> str:
    """Why it is paused, else how its last run ended."""
    if policy.is_enabled and (why := why_paused(policy)):
        return f"Paused. {why}"
    return str(last.outcome) if last else ""


def _environments(policy: UpgradePolicy) -> list[str]:
    return [str(turn.environment) for turn in policy.turns.all()]


def _last_run(policy: UpgradePolicy) -> PolicyRun | None:
    return policy.runs.order_by("-slot", "-pk").first()


def _next_time(policy: UpgradePolicy) -> datetime | str:
    """Return the next time, or why there is none."""
    if not policy.is_enabled:
        return "off"
    try:
        return next_times(policy, 1, timezone.now())[0]
    except ValueError as error:
        return str(error)


def _describe_time(moment: datetime | str, policy: UpgradePolicy) -> str:
    if isinstance(moment, str):
        return moment
    return f"{moment.astimezone(zone_or_utc(policy.time_zone)):%Y-%m-%d %H:%M %Z}"
