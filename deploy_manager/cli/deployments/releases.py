"""The releases of an environment: what is in them, which servers serve and hold them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from deploy_manager.cli.deployments.plan import SHORT
from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.times import describe_moment
from deploy_manager.cli.views.base import Report, View, make_table
from deploy_manager.deployments.comparing import twins_of
from deploy_manager.models import Environment, Placement, Release


@dataclass(frozen=True)
class ReleasesReport(Report):
    """The releases, newest first."""

    environment: Environment
    releases: Sequence[Release]
    placements: Sequence[Placement]

    @classmethod
    def of(cls, environment: Environment) -> "ReleasesReport":
        return cls(
            environment,
            list(environment.releases.select_related("environment", "lock")),
            list(environment.placements.select_related("server")),
        )

    def print_on(self, view: View) -> None:
        if not self.releases:
            view.remark(f"{self.environment} has no release yet: run deploy.")
            return
        table = make_table(
            "release", "commit", "subject", "pins", "made", "serves on", "whole on", "bad"
        )
        twins = twins_of(self.releases)
        for release in self.releases:
            table.add_row(
                release.name,
                release.commit[:SHORT],
                clean(release.subject),
                clean(str(twins.get(release.pk, ""))),
                describe_moment(release.created_at, release.environment),
                self._describe(self._serving(release)),
                self._describe(self._whole(release)),
                clean(release.bad_reason) or "yes" if release.bad_since else "",
                style="red" if release.bad_since else "",
            )
        view.print_table(table)

    def write_on(self, view: View) -> None:
        twins = twins_of(self.releases)
        for release in self.releases:
            twin = twins.get(release.pk)
            serving = self._serving(release)
            since = min((each.activated_at for each in serving if each.activated_at), default=None)
            view.write(
                "release",
                name=release.name,
                commit=release.commit,
                subject=release.subject,
                created_at=release.created_at.isoformat(),
                lock=release.lock.digest,
                same_commit_as=twin.other.name if twin else None,
                pin_changes=[asdict(change) for change in twin.changes] if twin else [],
                serves_on=[each.server.name for each in serving],
                serves_since=since.isoformat() if since else None,
                whole_on=[each.server.name for each in self._whole(release)],
                bad_since=release.bad_since.isoformat() if release.bad_since else None,
                bad_reason=release.bad_reason,
            )

    def _serving(self, release: Release) -> list[Placement]:
        return [each for each in self.placements if each.active_release_id == release.pk]

    def _whole(self, release: Release) -> list[Placement]:
        return [each for each in self.placements if release.name in each.complete_releases]

    def _describe(self, placements: Sequence[Placement]) -> str:
        if len(placements) == len(self.placements):
            return "all"
        return shorten([each.server.name for each in placements]) or "none"
