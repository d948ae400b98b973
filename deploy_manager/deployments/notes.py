"""Release notes: the commits that a deployment brought, for people and for programs."""

import re
from collections import Counter
from dataclasses import dataclass

from deploy_manager.git.mirror import Commit
from deploy_manager.logs import mask_text, plain
from deploy_manager.models import Deployment, Release
from deploy_manager.packages.repository import mirror_of

MOST_COMMITS = 200
SHORT = 8
"""Letters of a commit's hash that people see."""

# Whatever Markdown, or HTML in it, would take for a mark: subjects are what anybody wrote.
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


@dataclass(frozen=True)
class Notes:
    """The commits between what served before a deployment and what came with it, newest first."""

    deployment: Deployment
    before: str
    after: str
    commits: tuple[Commit, ...]
    has_more: bool

    @property
    def markdown(self) -> str:
        """A title and a line for each commit."""
        title = f"{self.deployment.environment}: {self.after[:SHORT]}"
        lines = [f"## {_escaped(title)}", ""]
        lines += [
            f"- {_escaped(each.subject)} ({each.hash[:SHORT]}, {_escaped(each.author)})"
            for each in self.commits
        ]
        if self.has_more:
            lines.append("- …")
        if not self.commits:
            lines.append("No new commits.")
        return "\n".join(lines) + "\n"


def notes_of(deployment: Deployment) -> Notes:
    """Return what a deployment brought, as the mirror of its repository has it.

    Raises CodeError if that does not have the commits, as after a history was rewritten.
    """
    before, after = _served_before(deployment), deployment.commit
    found: list[Commit] = []
    if after and after != before:
        mirror = mirror_of(deployment.environment.project)
        found = mirror.log(before, after, MOST_COMMITS + 1)
    shown = tuple(found[:MOST_COMMITS])
    return Notes(deployment, before, after, shown, len(found) > MOST_COMMITS)


def _served_before(deployment: Deployment) -> str:
    """Return the commit that most of its servers served when it came; blank: none did."""
    runs = deployment.host_runs.values_list("release_before", "release_when_requested")
    counts = Counter(before or asked for before, asked in runs if before or asked)
    if not counts:
        return ""
    key, _count = counts.most_common(1)[0]
    return Release.objects.filter(pk=key).values_list("commit", flat=True).first() or ""


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", plain(mask_text(text)))
