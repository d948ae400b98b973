"""The plan of a deployment: checked, and shown before it is requested."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from deploy_manager.cli.exits import refuse
from deploy_manager.cli.packages.pins import (
    SECURITY,
    agrees,
    describe_override,
    describe_pin,
)
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View
from deploy_manager.deployments.as_json import plan_as_json
from deploy_manager.deployments.comparing import unlike_live
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.times import describe_moment
from deploy_manager.git.mirror import Commit
from deploy_manager.messages import few
from deploy_manager.models import Release
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.serving import most_served, unproven

SHORT = 8
"""Letters of a commit's hash that people see."""

SHOWN_WAVES = 5

Fact = tuple[str, str | tuple[str, str]]
"""A label, blank for a further line of the same; and a text, or a text with its style."""


def agree_to_part(plan: Plan, options: DeploymentOptions, view: View, *, agreed: bool) -> None:
    """Return if no server is left behind, or if that is agreed to: by the flag, or when asked.

    A retry completes what was agreed to before. Raises CommandError (exit code 2) otherwise.
    """
    if agreed or options.retry_of is not None or not plan.parting:
        return
    others = clean(shorten([each.server.name for each in plan.left_behind]))
    if not agrees(f"Leave {others} behind? [y/N] ", view):
        refuse(f"{clean(str(plan.parting))}\nTo leave them behind, add --leave-others.")


def agree_to_run(plan: Plan, view: View, *, agreed: bool) -> None:
    """Return if a person at a terminal says yes to the plan that was shown; elsewhere always.

    Raises CommandError (exit code 2) otherwise.
    """
    if agreed or not view.can_ask:
        return
    what = clean(f"{plan.pipeline.title} on {plan.environment}")
    if not agrees(f"{what} as shown? [y/N] ", view):
        refuse("Not confirmed, so nothing was requested.")


@dataclass(frozen=True)
class PlanReport(Report):
    """A plan in a few lines: commit now and to come, pins that change, servers, waves, time."""

    plan: Plan
    options: DeploymentOptions

    def print_on(self, view: View) -> None:
        view.print(describe(self.plan, self.options))

    def write_on(self, view: View) -> None:
        view.write("plan", **plan_as_json(self.plan, self.options))


def describe(plan: Plan, options: DeploymentOptions) -> Text:
    """Return the lines that people read."""
    lines = [Text(f"{plan.environment}: {plan.pipeline.title}", "bold")]
    for label, text in _facts(plan, options):
        lines.append(Text.assemble((f"  {label:<9}", "dim"), text))
    lines += [Text(f"  {warning}", SECURITY) for warning in _warnings(plan)]
    return Text("\n").join(lines)


def _facts(plan: Plan, options: DeploymentOptions) -> Iterator[Fact]:
    yield from _code(plan, options)
    yield from _changes(plan)
    yield "servers", shorten([server.placement.server.name for server in plan.servers])
    if options.left:
        yield "", f"left out, no longer in the environment: {clean(shorten(options.left))}"
    if (number := max(server.wave for server in plan.servers)) > 1:
        waves: list[list[str]] = [[] for _ in range(number)]
        for server in plan.servers:
            waves[server.wave - 1].append(server.placement.server.name)
        more = " | …" if number > SHOWN_WAVES else ""
        yield "waves", f"{number}: {' | '.join(map(shorten, waves[:SHOWN_WAVES]))}{more}"
    if plan.approvals:
        told = "break-glass: without approval" if options.breaks_glass else str(plan.approvals)
        yield "approval", (clean(told), SECURITY)
    if why := plan.gate.why:
        told = f"break-glass: {why}" if options.breaks_glass else str(why)
        yield "gate", (clean(told), SECURITY)
    if options.not_before:
        yield "at", describe_moment(options.not_before, plan.environment)


def _changes(plan: Plan) -> Iterator[Fact]:
    """Yield what moves with the code: pins, migrations, overrides; and what is built."""
    for number, pin in enumerate(plan.pins):
        line = describe_pin(pin)
        yield "" if number else "pins", (line, SECURITY) if pin.is_taken_back else line
    if plan.migrations or (plan.commit and plan.environment.migrate_databases):
        yield "migrate", clean(_migrations(plan))
    for number, override in enumerate(plan.overrides):
        yield "" if number else "override", describe_override(override)
    for number, line in enumerate("\n".join(plan.build).splitlines()):
        yield "" if number else "build", clean(line)


def _code(plan: Plan, options: DeploymentOptions) -> Iterator[Fact]:
    """Yield the command that is run, the release that is switched to, or the commit deployed."""
    if options.arguments:
        yield from _command(plan, options.arguments)
    elif (release := options.release) is not None:
        yield from _release(plan, release)
    elif plan.commit is not None:
        yield from _commit(plan, plan.commit)


def _commit(plan: Plan, commit: Commit) -> Iterator[Fact]:
    """Yield the commit now and to come, whether that is marked as bad, and that no pins change."""
    now = plan.commit_now[:SHORT] or "nothing yet"
    subject = clean(commit.subject)
    if commit.hash == plan.commit_now:
        subject = "as it is"
    elif plan.commit_now and len(plan.commits) > 1:
        subject = f"{subject} ({len(plan.commits)} new commits)"
    of = plan.promotes.environment if plan.promotes else plan.ref
    yield "commit", f"{now} → {commit.hash[:SHORT]} of {of}: {subject}"
    if plan.bad:
        yield "", clean(str(plan.bad))
    if not plan.pins:
        yield "pins", "unchanged"


def _command(plan: Plan, words: Sequence[str]) -> Iterator[Fact]:
    """Yield the words of a one-off command, quoted as they are run, and the release it runs in."""
    yield "command", clean(f"manage.py {shlex.join(words)}").replace("\n", " ")
    serving = {str(server.placement.active_release or "unknown") for server in plan.servers}
    yield "release", shorten(sorted(serving))


def _migrations(plan: Plan) -> str:
    named = str(few(plan.migrations)) if plan.migrations else "none in the code"
    if not plan.databases:
        return f"New migrations: {named}; not applied by this"
    return f"New migrations: {named}; databases: {', '.join(plan.databases)}"


def _release(plan: Plan, release: Release) -> Iterator[Fact]:
    subject = clean(release.subject)
    yield "release", f"{release}: {subject}" if subject else str(release)
    if release.bad_since:
        yield "", f"marked as bad: {clean(release.bad_reason)}"
    if plan.pipeline.name != ROLLBACK:
        return
    if live := most_served(server.placement for server in plan.servers):
        yield "", clean(str(unlike_live(release, live)))
    if lacking := unproven([release.pk]):
        yield "", clean(str(lacking[release.pk]))


def _warnings(plan: Plan) -> Iterator[str]:
    for module, why in plan.broken.items():
        yield f"{module} can't be imported, so what it adds is missing: {clean(why)}"
    yield from (clean(str(line)) for line in plan.foreseen)
    yield from clean(str(plan.parting)).splitlines()
    if not plan.taken_back:
        return
    names = ", ".join(pin.name for pin in plan.taken_back)
    yield f"This takes back what an upgrade or a fix brought: {clean(names)}."
    if plan.pipeline.name == ROLLBACK and (held := [each.name for each in plan.overrides]):
        site = plan.environment
        yield (
            f"Still held: {clean(', '.join(held))}. The next deployment installs it again, unless"
            f" you let it go: manage.py overrides {site} --let-go NAME --reason …"
        )
