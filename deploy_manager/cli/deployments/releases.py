"""The releases of an environment: what is in them, which servers serve and hold them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.text import Text

from deploy_manager.cli.text import clean, shorten
from deploy_manager.cli.views.base import Report, View
from deploy_manager.deployments.comparing import twins_of
from deploy_manager.deployments.notes import ReleaseNotes, notes_of
from deploy_manager.deployments.times import describe_moment
from deploy_manager.models import Deployment, Environment, Placement, Release
from deploy_manager.models.serving import unproven


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
        twins = twins_of(self.releases)
        lacking = unproven(release.pk for release in self.releases)
        # No table: with all of this, it would be wider than most terminals.
        for release in self.releases:
            view.print(Text.assemble((release.name, "bold"), f"  {clean(release.subject)}"))
            view.print(Text(f"  made {describe_moment(release.created_at, self.environment)}"))
            serving, complete = self._serving(release), self._complete(release)
            view.print(
                Text(
                    f"  serves on: {self._describe(serving)};"
                    f" complete on: {self._describe(complete)}"
                )
            )
            if twin := twins.get(release.pk):
                view.print(Text(f"  {clean(str(twin))}"))
            if why := lacking.get(release.pk):
                view.print(Text(f"  {clean(str(why))}"))
            if release.bad_since:
                reason = clean(release.bad_reason) or "no reason was given"
                view.print(Text(f"  marked as bad: {reason}", "red"))

    def write_on(self, view: View) -> None:
        twins = twins_of(self.releases)
        lacking = unproven(release.pk for release in self.releases)
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
                complete_on=[each.server.name for each in self._complete(release)],
                unproven=str(lacking.get(release.pk, "")),
                bad_since=release.bad_since.isoformat() if release.bad_since else None,
                bad_reason=str(release.bad_reason),
            )
        number = len(self.releases)
        view.write("summary", environment=str(self.environment), releases=number)

    def _serving(self, release: Release) -> list[Placement]:
        return [each for each in self.placements if each.active_release_id == release.pk]

    def _complete(self, release: Release) -> list[Placement]:
        return [each for each in self.placements if release.name in each.complete]

    def _describe(self, placements: Sequence[Placement]) -> str:
        if len(placements) == len(self.placements):
            return "all"
        return shorten([each.server.name for each in placements]) or "none"


@dataclass(frozen=True)
class NotesReport(Report):
    """The commits that a deployment brought."""

    deployment: Deployment
    notes: ReleaseNotes

    @classmethod
    def of(cls, deployment: Deployment) -> "NotesReport":
        return cls(deployment, notes_of(deployment))

    def print_on(self, view: View) -> None:
        for line in self.notes.as_markdown().splitlines():
            view.print(Text(clean(line)))

    def write_on(self, view: View) -> None:
        view.write("notes", deployment=self.deployment.pk, **self.notes.as_json())
