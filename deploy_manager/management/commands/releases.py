"""List an environment's releases, and where they are."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from deploy_manager.management.base import EnvironmentCommand
from deploy_manager.management.environments import find_environment
from deploy_manager.management.json_lines import JsonLines
from deploy_manager.management.moments import describe_moment
from deploy_manager.management.short_plan import SHORT
from deploy_manager.management.words import clean, shorten
from deploy_manager.models import Placement, Release

TITLES = ("release", "commit", "subject", "made", "serves on", "whole on", "bad")


class Command(EnvironmentCommand):
    help = "List an environment's releases, newest first: which serves, which can be gone back to."

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        placements = list(environment.placements.select_related("server"))
        view = self.make_view(options)
        releases = list(environment.releases.select_related("environment"))
        if isinstance(view, JsonLines):
            for release in releases:
                view.write("release", **_facts(release, placements))
        elif releases:
            view.list(_table(releases, placements))
        else:
            view.say(f"{environment} has no release yet: run deploy.")


def _serving(release: Release, placements: Sequence[Placement]) -> list[str]:
    return [each.server.name for each in placements if each.active_release_id == release.pk]


def _whole(release: Release, placements: Sequence[Placement]) -> list[str]:
    return [each.server.name for each in placements if release.name in each.complete_releases]


def _facts(release: Release, placements: Sequence[Placement]) -> dict[str, Any]:
    return {
        "name": release.name,
        "commit": release.commit,
        "subject": release.subject,
        "created_at": release.created_at.isoformat(),
        "serves_on": _serving(release, placements),
        "whole_on": _whole(release, placements),
        "bad_since": release.bad_since.isoformat() if release.bad_since else None,
        "bad_reason": release.bad_reason,
    }


def _table(releases: Sequence[Release], placements: Sequence[Placement]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for release in releases:
        table.add_row(
            release.name,
            release.commit[:SHORT],
            clean(release.subject),
            describe_moment(release.created_at, release.environment),
            _servers(_serving(release, placements), placements),
            _servers(_whole(release, placements), placements),
            clean(release.bad_reason) or "yes" if release.bad_since else "",
            style="red" if release.bad_since else "",
        )
    return table


def _servers(names: Sequence[str], placements: Sequence[Placement]) -> str:
    return "all" if len(names) == len(placements) else shorten(names) or "none"
