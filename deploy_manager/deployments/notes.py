"""Release notes: the commits between what served before a deployment and what it brought."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as translated
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import CodeError, InvalidRow
from deploy_manager.git.mirror import Commit
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message
from deploy_manager.models import Deployment
from deploy_manager.packages.repository import mirror_of

MOST = 200
"""Commits that are listed."""

# What would be markup in one of the many dialects, or HTML: a subject is anybody's text.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


@dataclass(frozen=True)
class ReleaseNotes:
    """The commits that a deployment brought, newest first."""

    title: str
    before: str = ""
    """The commit that served; blank: none did, or it is not known."""

    after: str = ""
    """The commit that it brought; blank: it brought none."""

    commits: tuple[Commit, ...] = ()
    taken_back: tuple[Commit, ...] = ()
    """Those that serve no longer."""

    has_more: bool = False
    problem: Message = field(default_factory=Message)
    """Why the commits are not known; blank: they are."""

    def as_json(self) -> dict[str, Any]:
        return {
            "before": self.before,
            "after": self.after,
            "commits": [_as_json(each) for each in self.commits],
            "taken_back": [_as_json(each) for each in self.taken_back],
            "has_more": self.has_more,
            "problem": str(self.problem),
            "markdown": self.as_markdown(),
        }

    def as_markdown(self) -> str:
        """Return a title, and a line for each commit, in the language that is active."""
        lines = [f"## {escape(self.title)}", ""]
        if self.before and self.after:
            lines += [f"`{self.before[:12]}` → `{self.after[:12]}`", ""]
        lines += [_line(each) for each in self.commits]
        if self.has_more:
            lines.append("- …")
        if self.taken_back:
            lines += ["", translated("Taken back:"), ""]
            lines += [_line(each) for each in self.taken_back]
        if self.problem:
            lines.append(escape(str(self.problem)))
        elif not (self.commits or self.taken_back):
            lines.append(translated("No other commits than before."))
        return "\n".join(lines).strip() + "\n"


def notes_of(deployment: Deployment) -> ReleaseNotes:
    """Return the notes of a deployment, as far as the mirror here knows its commits; no fetch."""
    title = f"{deployment.environment}: {deployment.recipe} #{deployment.pk}"
    before, after = _commit_before(deployment), _commit_of(deployment)
    notes = ReleaseNotes(title, before, after)
    if not after or before == after:
        return notes
    try:
        mirror = mirror_of(deployment.environment.project)
        brought = [_masked(each) for each in mirror.log(before, after, limit=MOST + 1)]
        back = mirror.log(after, before, limit=MOST) if before else []
    except (CodeError, InvalidRow, OSError) as error:
        why = getattr(error, "message", None) or Message(str(error))
        text = _("The commits are not known here: %(why)s")
        return ReleaseNotes(title, before, after, problem=Message(text, why=why))
    taken_back = tuple(_masked(each) for each in back)
    return ReleaseNotes(
        title, before, after, tuple(brought[:MOST]), taken_back, has_more=len(brought) > MOST
    )


def escape(text: str) -> str:
    """Return a text that means itself in Markdown."""
    one_line = "".join(each if each.isprintable() else " " for each in text)
    return _MARKUP.sub(r"\\\1", one_line)


def _commit_of(deployment: Deployment) -> str:
    return deployment.release.commit if deployment.release else deployment.commit


def _commit_before(deployment: Deployment) -> str:
    """Return the commit that most of its servers served before it."""
    runs = deployment.host_runs.select_related("release_before", "release_when_requested")
    served = (run.release_before or run.release_when_requested for run in runs.order_by("pk"))
    commits = Counter(release.commit for release in served if release)
    return commits.most_common(1)[0][0] if commits else ""


def _masked(commit: Commit) -> Commit:
    return Commit(
        commit.hash, mask_text(commit.subject), mask_text(commit.author), commit.committed_at
    )


def _line(commit: Commit) -> str:
    return f"- {escape(commit.subject)} (`{commit.hash[:8]}`, {escape(commit.author)})"


def _as_json(commit: Commit) -> dict[str, str]:
    return {
        "hash": commit.hash,
        "subject": commit.subject,
        "author": commit.author,
        "committed_at": commit.committed_at.isoformat(),
    }
