"""A plan in a few lines, before it is asked for on a command line."""

from collections.abc import Iterator

from rich.text import Text

from deploy_manager.cli.deployments.options import ROLLBACK
from deploy_manager.cli.moments import describe_moment
from deploy_manager.cli.packages.pin_changes import SECURITY, describe_override, describe_pin
from deploy_manager.cli.text import clean, shorten
from deploy_manager.deployments.plan import Plan
from deploy_manager.deployments.request import DeploymentOptions

SHORT = 8
"""Letters of a commit's hash that people read."""

SHOWN_WAVES = 5


def describe(plan: Plan, wanted: DeploymentOptions) -> Text:
    """Return what runs where: commit now and to come, pins that change, servers, waves, time."""
    lines = [Text(f"{plan.environment}: {plan.pipeline.title}", "bold")]
    for name, words in _facts(plan, wanted):
        lines.append(Text.assemble((f"  {name:<9}", "dim"), words))
    lines += [Text(f"  {words}", SECURITY) for words in _taken_back(plan)]
    return Text("\n").join(lines)


def _facts(plan: Plan, wanted: DeploymentOptions) -> Iterator[tuple[str, str | tuple[str, str]]]:
    if wanted.release is not None:
        subject = clean(wanted.release.subject)
        yield "release", f"{wanted.release}: {subject}" if subject else str(wanted.release)
        if wanted.release.bad_since:
            yield "", f"marked as bad: {clean(wanted.release.bad_reason)}"
    elif plan.commit is not None:
        now = plan.commit_now[:SHORT] or "nothing yet"
        yield "commit", f"{now} → {plan.commit.hash[:SHORT]} of {plan.ref}: {_subject(plan)}"
        if plan.bad:
            yield "", clean(plan.bad)
        if not plan.pins:
            yield "pins", "unchanged"
    yield from _pins(plan)
    yield "servers", shorten([server.placement.server.name for server in plan.servers])
    yield from _waves(plan)
    if wanted.not_before:
        yield "at", describe_moment(wanted.not_before, plan.environment)


def _pins(plan: Plan) -> Iterator[tuple[str, str | tuple[str, str]]]:
    """A line for each package that changes, and for each that an upgrade holds."""
    for number, pin in enumerate(plan.pins):
        words = describe_pin(pin)
        yield "" if number else "pins", (words, SECURITY) if pin.is_taken_back else words
    for number, each in enumerate(plan.overrides):
        yield "" if number else "override", describe_override(each)


def _taken_back(plan: Plan) -> Iterator[str]:
    """What whoever reads the plan must not miss."""
    if not plan.taken_back:
        return
    names = ", ".join(pin.name for pin in plan.taken_back)
    yield f"This takes back what an upgrade or a fix brought: {clean(names)}."
    if plan.pipeline.name == ROLLBACK and (held := [each.name for each in plan.overrides]):
        site = plan.environment
        yield (
            f"Held as ever: {clean(', '.join(held))}. The next deployment brings it again, unless"
            f" it is let go: manage.py overrides {site} --let-go NAME --reason …"
        )


def _waves(plan: Plan) -> Iterator[tuple[str, str]]:
    number = max(server.wave for server in plan.servers)
    if number == 1:
        return
    waves: list[list[str]] = [[] for _ in range(number)]
    for server in plan.servers:
        waves[server.wave - 1].append(server.placement.server.name)
    yield (
        "waves",
        f"{number}: {' | '.join(map(shorten, waves[:SHOWN_WAVES]))}"
        + (" | …" if number > SHOWN_WAVES else ""),
    )


def _subject(plan: Plan) -> str:
    if plan.commit is None or plan.commit.hash == plan.commit_now:
        return "as it is"
    new = len(plan.commits)
    subject = clean(plan.commit.subject)
    return f"{subject} ({new} new commits)" if plan.commit_now and new > 1 else subject
