"""A plan in a few lines, before it is asked for on a command line."""

from collections.abc import Iterator

from rich.text import Text

from deploy_manager.management.moments import describe_moment
from deploy_manager.management.words import clean, shorten
from deploy_manager.runner import Plan, Wish

SHORT = 8
"""Letters of a commit's hash that people read."""

SHOWN_WAVES = 5


def describe(plan: Plan, wish: Wish) -> Text:
    """Return what runs where: commit now and to come, pins that change, servers, waves, time."""
    lines = [Text(f"{plan.environment}: {plan.story.title}", "bold")]
    for name, words in _facts(plan, wish):
        lines.append(Text.assemble((f"  {name:<9}", "dim"), words))
    return Text("\n").join(lines)


def _facts(plan: Plan, wish: Wish) -> Iterator[tuple[str, str]]:
    if wish.release is not None:
        subject = clean(wish.release.subject)
        yield "release", f"{wish.release}: {subject}" if subject else str(wish.release)
        if wish.release.bad_since:
            yield "", f"marked as bad: {clean(wish.release.bad_reason)}"
    elif plan.commit is not None:
        now = plan.commit_now[:SHORT] or "nothing yet"
        yield "commit", f"{now} → {plan.commit.hash[:SHORT]} of {plan.ref}: {_subject(plan)}"
        changes = len(plan.pin_changes)
        yield "pins", f"{changes} changed" if changes else "unchanged"
    yield "servers", shorten([server.placement.server.name for server in plan.servers])
    yield from _waves(plan)
    if wish.not_before:
        yield "at", describe_moment(wish.not_before, plan.environment)


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
