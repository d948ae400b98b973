"""A plan in a few lines, before it is asked for on a command line."""

from collections.abc import Iterator

from rich.text import Text

from deploy_manager.management.words import clean
from deploy_manager.runner import Plan

SHORT = 8
"""Letters of a commit's hash that people read."""

SERVERS_NAMED = 12


def describe(plan: Plan) -> Text:
    """Return what runs where: commit now and to come, pins that change, servers."""
    lines = [Text(f"{plan.environment}: {plan.story.title}", "bold")]
    for name, words in _facts(plan):
        lines.append(Text.assemble((f"  {name:<9}", "dim"), words))
    return Text("\n").join(lines)


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.commit is not None:
        now = plan.commit_now[:SHORT] or "nothing yet"
        yield "commit", f"{now} → {plan.commit.hash[:SHORT]} of {plan.ref}: {_subject(plan)}"
        changes = len(plan.pin_changes)
        yield "pins", f"{changes} changed" if changes else "unchanged"
    names = [server.placement.server.name for server in plan.servers]
    more = f" and {len(names) - SERVERS_NAMED} more" if len(names) > SERVERS_NAMED else ""
    yield "servers", ", ".join(names[:SERVERS_NAMED]) + more


def _subject(plan: Plan) -> str:
    if plan.commit is None or plan.commit.hash == plan.commit_now:
        return "as it is"
    new = len(plan.commits)
    subject = clean(plan.commit.subject)
    return f"{subject} ({new} new commits)" if plan.commit_now and new > 1 else subject
