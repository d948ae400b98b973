"""List an environment's releases, and where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from deploy_manager.cli.base import EnvironmentCommand
from deploy_manager.cli.deployments.json_lines import JsonLines
from deploy_manager.cli.deployments.plan import SHORT
from deploy_manager.cli.inventory.environments import find_environment
from deploy_manager.cli.moments import describe_moment
from deploy_manager.cli.text import clean, shorten
from deploy_manager.deployments.comparing import Twin, twins_of
from deploy_manager.models import Placement, Release

TITLES = ("release", "commit", "subject", "pins", "made", "serves on", "whole on", "bad")


class Command(EnvironmentCommand):
    help = "List an environment's releases, newest first: which serves, which can be gone back to."

    def handle(self, *args: Any, **options: Any) -> None:
        environment = find_environment(options["environment"], options["project"])
        placements = list(environment.placements.select_related("server"))
        view = self.make_view(options)
        releases = list(environment.releases.select_related("environment", "lock"))
        twins = twins_of(releases)
        if isinstance(view, JsonLines):
            for release in releases:
                view.write("release", **_facts(release, placements, twins.get(release.pk)))
        elif releases:
            view.list(_table(releases, placements, twins))
        else:
            view.say(f"{environment} has no release yet: run deploy.")


def _serving(release: Release, placements: Sequence[Placement]) -> list[str]:
    return [each.server.name for each in placements if each.active_release_id == release.pk]


def _whole(release: Release, placements: Sequence[Placement]) -> list[str]:
    return [each.server.name for each in placements if release.name in each.complete_releases]


def _facts(release: Release, placements: Sequence[Placement], twin: Twin | None) -> dict[str, Any]:
    since = [each.activated_at for each in placements if each.active_release_id == release.pk]
    serves_since = min(filter(None, since), default=None)
    return {
        "name": release.name,
        "commit": release.commit,
        "subject": release.subject,
        "created_at": release.created_at.isoformat(),
        "lock": release.lock.digest,
        "same_commit_as": twin.other.name if twin else None,
        "pin_changes": [asdict(change) for change in twin.changes] if twin else [],
        "serves_on": _serving(release, placements),
        "serves_since": serves_since.isoformat() if serves_since else None,
        "whole_on": _whole(release, placements),
        "bad_since": release.bad_since.isoformat() if release.bad_since else None,
        "bad_reason": release.bad_reason,
    }


def _table(
    releases: Sequence[Release], placements: Sequence[Placement], twins: Mapping[int, Twin]
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in TITLES:
        table.add_column(title, overflow="fold")
    for release in releases:
        table.add_row(
            release.name,
            release.commit[:SHORT],
            clean(release.subject),
            clean(str(twins.get(release.pk, ""))),
            describe_moment(release.created_at, release.environment),
            _servers(_serving(release, placements), placements),
            _servers(_whole(release, placements), placements),
            clean(release.bad_reason) or "yes" if release.bad_since else "",
            style="red" if release.bad_since else "",
        )
    return table


def _servers(names: Sequence[str], placements: Sequence[Placement]) -> str:
    return "all" if len(names) == len(placements) else shorten(names) or "none"
