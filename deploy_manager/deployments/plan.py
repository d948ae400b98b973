"""What a deployment would do, told before anybody asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _

from deploy_manager.deployments.bad_releases import describe_mark, find_mark
from deploy_manager.deployments.contents import Contents, find_contents
from deploy_manager.deployments.pipelines import changes_what_serves, pipeline_for
from deploy_manager.deployments.request import choose_placements
from deploy_manager.deployments.waves import plan_steps
from deploy_manager.exceptions import CodeError, PinError, RequestRefused
from deploy_manager.git.mirror import Commit
from deploy_manager.models import Environment, Placement, Release
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.serving import most_served
from deploy_manager.packages.downgrades import ChangedPin, changed_pins
from deploy_manager.packages.overrides import StandingOverride, lay_over
from deploy_manager.packages.pins import pins_in
from deploy_manager.packages.repository import mirror_of
from deploy_manager.recipes import Pipeline, Uses
from deploy_manager.requirements.pins import Pin, PinChange


@dataclass(frozen=True)
class PlannedServer:
    """One server's part: what it serves now and the titles of the steps it will take."""

    placement: Placement
    steps: tuple[str, ...]
    wave: int = 1

    @property
    def commit_now(self) -> str:
        release = self.placement.active_release
        return release.commit if release else ""


@dataclass(frozen=True)
class Plan:
    """Commit now and commit to come, the log between them, servers, and pins that change."""

    environment: Environment
    pipeline: Pipeline
    ref: str
    servers: tuple[PlannedServer, ...]
    commit: Commit | None = None
    """The commit to come; None where the recipe takes none, or a problem hides it."""

    commit_now: str = ""
    """What most of the servers serve; blank: nothing yet."""

    commits: tuple[Commit, ...] = ()
    """In the commit to come and not in the one now, newest first, at most 50."""

    bad: str = ""
    """That the commit to come is marked as bad here, and why: only people may deploy it."""

    pins: tuple[ChangedPin, ...] = ()
    """Packages whose version becomes another one, sorted by name, and what that means."""

    overrides: tuple[StandingOverride, ...] = ()
    """What upgrades moved and the repository does not have: what holds, and what ends."""

    problems: tuple[str, ...] = field(default=())
    """Why the deployment would fail as things stand, or what could not be looked up."""

    @property
    def pin_changes(self) -> tuple[PinChange, ...]:
        return tuple(PinChange(pin.name, pin.before, pin.after) for pin in self.pins)

    @property
    def taken_back(self) -> tuple[ChangedPin, ...]:
        """What an upgrade or a fix brought, and this takes away again."""
        return tuple(pin for pin in self.pins if pin.is_taken_back)

    @property
    def to_confirm(self) -> tuple[ChangedPin, ...]:
        """What somebody has to agree to beforehand; who rolls back has named the release."""
        return () if self.pipeline.name == ROLLBACK else self.taken_back


def make_plan(
    environment: Environment,
    recipe: str = "deploy",
    ref: str = "",
    servers: Sequence[str] = (),
    release: Release | None = None,
) -> Plan:
    """Return what a request with these words would do. Reads the repository, no server.

    `release` is one that is there already, for recipes that work on one. Raises UnknownRecipe and
    RequestRefused as the request itself would.
    """
    pipeline = pipeline_for(environment, recipe)
    planned = _planned_servers(pipeline, environment, choose_placements(environment, servers))
    if pipeline.uses is Uses.NEW:
        return _with_code(environment, pipeline, ref or environment.ref, planned, release)
    plan = Plan(environment, pipeline, "", planned)
    if release is None or not changes_what_serves(pipeline):
        return plan
    try:
        return replace(plan, **_pins(environment, pins_in(release.lock.text), planned))
    except PinError as error:
        return replace(plan, problems=(str(error),))


def _pins(
    environment: Environment, pins: tuple[Pin, ...], servers: Sequence[PlannedServer]
) -> dict[str, Any]:
    """What a release that is there changes, and which overrides it does not have."""
    placements = [server.placement for server in servers]
    laid = lay_over(environment, pins)
    return {
        "pins": changed_pins(environment, pins, placements),
        "overrides": tuple(each for each in laid.overrides if each.holds),
    }


def _planned_servers(
    pipeline: Pipeline, environment: Environment, placements: Sequence[Placement]
) -> tuple[PlannedServer, ...]:
    planned = plan_steps(pipeline, environment, placements).without_rollback()
    if not planned.steps:
        raise RequestRefused(_("No server chosen has a role that this is for."))
    return tuple(
        PlannedServer(placement, tuple(step["title"] for step in fields), planned.waves[placement])
        for placement, fields in planned.steps.items()
    )


def _with_code(
    environment: Environment,
    pipeline: Pipeline,
    ref: str,
    servers: tuple[PlannedServer, ...],
    release: Release | None,
) -> Plan:
    try:
        contents = find_contents(environment, ref)
        told = (
            _pins(environment, pins_in(release.lock.text), servers)
            if release
            else {
                "pins": changed_pins(
                    environment, contents.pins, [one.placement for one in servers]
                ),
                "overrides": contents.laid.overrides,
            }
        )
    except (CodeError, PinError) as error:
        return Plan(environment, pipeline, ref, servers, problems=(str(error),))
    serving = most_served([server.placement for server in servers])
    now = serving.commit if serving else ""
    return Plan(
        environment,
        pipeline,
        ref,
        servers,
        commit=contents.commit,
        commit_now=now,
        commits=_commits_between(environment, now, contents),
        bad=_mark_on(environment, contents),
        **told,
    )


def _mark_on(environment: Environment, contents: Contents) -> str:
    marked = find_mark(environment, contents.commit.hash, contents.digest)
    return describe_mark(marked) if marked else ""


def _commits_between(environment: Environment, now: str, contents: Contents) -> tuple[Commit, ...]:
    try:
        return tuple(mirror_of(environment.project).log(now, contents.commit.hash))
    except CodeError:
        # The history was rewritten: what is served now is in no clone any more.
        return (contents.commit,)
