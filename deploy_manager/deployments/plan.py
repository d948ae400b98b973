"""Plans: what a deployment would do, shown before it is requested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.approvals import approvals_for, describe_wait
from deploy_manager.deployments.bad_releases import describe_mark, find_mark
from deploy_manager.deployments.confirming import describe_request
from deploy_manager.deployments.contents import find_contents
from deploy_manager.deployments.decided import Description
from deploy_manager.deployments.foreseeing import known_beforehand
from deploy_manager.deployments.gates import Gate, look, refuse_to_promote_by, takes_new_code
from deploy_manager.deployments.pipelines import changes_what_serves, pipeline_for
from deploy_manager.deployments.provisioning import is_as_bootstrap, refuse_to_provision
from deploy_manager.deployments.request import DeploymentOptions, choose_placements
from deploy_manager.deployments.waves import plan_steps
from deploy_manager.exceptions import CodeError, PinError, RequestRefused
from deploy_manager.git.migrations import migrations_in
from deploy_manager.git.mirror import Commit, Mirror
from deploy_manager.messages import Message, few
from deploy_manager.models import Environment, Placement, Release
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.serving import most_served
from deploy_manager.models.shapes import texts_in
from deploy_manager.packages.downgrades import ChangedPin, changed_pins
from deploy_manager.packages.foreseen import foreseen
from deploy_manager.packages.overrides import StandingOverride, lay_over
from deploy_manager.packages.pins import pins_in
from deploy_manager.packages.repository import mirror_of
from deploy_manager.recipes import Pipeline, Uses, broken_modules
from deploy_manager.recipes.databases import DEFAULT, migrate
from deploy_manager.requirements.pins import Pin, PinChange

BUILD = "build"
"""The recipe that runs the build commands."""


@dataclass(frozen=True)
class PlannedServer:
    """One server's part: the commit it serves now and the titles of its steps."""

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
    """The commit to come; None if the recipe takes none, or a problem hides it."""

    commit_now: str = ""
    """The commit most of the servers serve; blank: none yet."""

    commits: tuple[Commit, ...] = ()
    """In the commit to come and not in the one now, newest first, at most 50."""

    bad: Message = field(default_factory=Message)
    """Why the commit to come is marked as bad here: only people may deploy it then."""

    pins: tuple[ChangedPin, ...] = ()
    """Packages whose version, file, extras or marker changes, by name, and what that means."""

    migrations: tuple[str, ...] = ()
    """Migration files in the commit to come and not in the one now; those of packages come on top.

    Read from the repository: which are applied, only the database knows.
    """

    overrides: tuple[StandingOverride, ...] = ()
    """Pins that upgrades moved and the repository does not have: which hold, and which end."""

    build: tuple[str, ...] = ()
    """The commands that build each new release: the repository's, then the environment's."""

    broken: Mapping[str, str] = field(default_factory=dict)
    """Modules of recipes that can't be imported, and why: what they add to pipelines is missing."""
    left_behind: tuple[Placement, ...] = ()
    """Servers that are not chosen and go on serving another commit than the chosen ones."""

    foreseen: tuple[Message, ...] = ()
    """What does not suit the servers, as far as they were asked about it: a worker asks again."""

    decided: Description = field(default_factory=lambda: Description(()))
    """What decides what would run, as its request keeps it."""

    approvals: Message = field(default_factory=Message)
    """How many approvals it would wait for; blank: for none."""

    promotes: Release | None = None
    """The release of another environment that would come here."""

    gate: Gate = field(default_factory=Gate)
    """Why its code may not come here, or not yet."""

    problems: tuple[str, ...] = field(default=())
    """Why the deployment would fail as it is, or what could not be looked up."""

    @property
    def pin_changes(self) -> tuple[PinChange, ...]:
        return tuple(PinChange(pin.name, pin.before, pin.after) for pin in self.pins)

    @property
    def taken_back(self) -> tuple[ChangedPin, ...]:
        """Changes that undo what an upgrade or a fix brought."""
        return tuple(pin for pin in self.pins if pin.is_taken_back)

    @property
    def databases(self) -> tuple[str, ...]:
        """The databases that are migrated, as the environment says; none: they are not here."""
        if not any(recipe.name == migrate.__name__ for recipe in self.pipeline.recipes):
            return ()
        return tuple(self.environment.migrate_databases) or (DEFAULT,)

    @property
    def to_confirm(self) -> tuple[ChangedPin, ...]:
        """Changes to confirm before the request; a rollback has chosen its release."""
        return () if self.pipeline.name == ROLLBACK else self.taken_back

    @property
    def parting(self) -> Message:
        """What it means that other servers are left behind, and what to do; blank: none are."""
        if not self.left_behind or self.commit is None:
            return Message()
        chosen = [server.placement.server.name for server in self.servers]
        commits = {each.active_release.commit for each in self.left_behind if each.active_release}
        words = {
            "chosen": few(chosen),
            "commit": self.commit.hash[:8],
            "others": few([each.server.name for each in self.left_behind]),
            "now": few(sorted(commit[:8] for commit in commits)),
        }
        text = _("%(chosen)s would get %(commit)s, but %(others)s would go on serving %(now)s.")
        if any(recipe.name == migrate.__name__ for recipe in self.pipeline.recipes):
            text = _(
                "%(chosen)s would get %(commit)s and migrate the database of all, but %(others)s"
                " would go on serving %(now)s."
            )
        how = _("To have on %(chosen)s what the others serve: manage.py converge %(site)s %(each)s")
        names = {"site": self.environment, "each": " ".join(chosen)}
        return Message.lines(Message(text, **words), Message(how, **words, **names))


def make_plan(
    environment: Environment,
    recipe: str = "deploy",
    ref: str = "",
    servers: Sequence[str] = (),
    release: Release | None = None,
    commit: str = "",
    promotes: Release | None = None,
) -> Plan:
    """Return what a request with these arguments would do. Reads the repository, no server.

    `release` is an existing one, for recipes that work on one; `commit` what `ref` was resolved to
    before; `promotes` what another environment serves. Raises UnknownRecipe and RequestRefused, as
    the request itself would.
    """
    pipeline = pipeline_for(environment, recipe)
    if promotes:
        refuse_to_promote_by(pipeline)
        release, commit = promotes, promotes.commit
    placements = choose_placements(environment, servers)
    steps = plan_steps(pipeline, environment, placements).without_rollback()
    if not steps.steps:
        raise RequestRefused(_("None of the chosen servers has a role for this recipe."))
    if is_as_bootstrap(each.name for each in pipeline.recipes):
        refuse_to_provision(steps.steps)
    planned = tuple(
        PlannedServer(placement, tuple(step["title"] for step in fields), steps.waves[placement])
        for placement, fields in steps.steps.items()
    )
    plan = replace(
        _plan(environment, pipeline, ref, commit, planned, release),
        decided=describe_request(environment, pipeline, steps, release),
        approvals=describe_wait(approvals_for(environment, pipeline, DeploymentOptions())),
        promotes=promotes,
    )
    if takes_new_code(pipeline, release, promotes) and plan.commit is not None:
        plan = replace(plan, gate=look(environment, plan.commit.hash, promotes))
    return replace(plan, broken=broken_modules()) if len(pipeline.phases) > 1 else plan


def _plan(
    environment: Environment,
    pipeline: Pipeline,
    ref: str,
    commit: str,
    planned: tuple[PlannedServer, ...],
    release: Release | None,
) -> Plan:
    if pipeline.uses is Uses.NEW:
        ref = ref or environment.ref
        plan = _with_code(environment, pipeline, commit or ref, planned, release)
        plan = replace(plan, left_behind=_left_behind(plan))
        if ref == environment.ref and _takes_all(environment, planned):
            return plan
        overrides = (replace(each, only_by=environment.ref) for each in plan.overrides)
        return replace(plan, overrides=tuple(overrides))
    build = _build(environment, pipeline, texts_in(release.build) if release else ())
    plan = Plan(environment, pipeline, "", planned, build=build)
    if release is None or not changes_what_serves(pipeline):
        return plan
    try:  # the lock file may have been written around the form, and not be readable
        pins = pins_in(release.lock.text)
        found = _pins(environment, pins, planned)
        if pipeline.name != ROLLBACK:
            found |= _foreseen(environment, pipeline, pins, [each.placement for each in planned])
        return replace(plan, **found)
    except PinError as error:
        return replace(plan, problems=(str(error),))


def _build(
    environment: Environment, pipeline: Pipeline, of_commit: Sequence[str]
) -> tuple[str, ...]:
    """Return the build commands that a pipeline runs, of a commit and of the environment."""
    if all(recipe.name != BUILD for recipe in pipeline.recipes):
        return ()
    return (*of_commit, *texts_in(environment.build_commands))


def _left_behind(plan: Plan) -> tuple[Placement, ...]:
    if plan.commit is None or not changes_what_serves(plan.pipeline):
        return ()
    chosen = [server.placement.pk for server in plan.servers]
    others = plan.environment.placements.exclude(active_release=None).exclude(pk__in=chosen)
    elsewhere = others.exclude(active_release__commit=plan.commit.hash)
    return tuple(elsewhere.select_related("server", "active_release"))


def _takes_all(environment: Environment, servers: Sequence[PlannedServer]) -> bool:
    """Whether no server is left that serves another release afterwards."""
    taken = [server.placement.pk for server in servers]
    serving = environment.placements.exclude(active_release=None)
    return not serving.exclude(pk__in=taken).exists()


def _pins(
    environment: Environment, pins: tuple[Pin, ...], servers: Sequence[PlannedServer]
) -> dict[str, Any]:
    """Return the pins that an existing release changes, and the overrides it does not have."""
    return {
        "pins": changed_pins(environment, pins, [server.placement for server in servers]),
        "overrides": tuple(each for each in lay_over(environment, pins).overrides if each.holds),
    }


def _foreseen(
    environment: Environment,
    pipeline: Pipeline,
    pins: Sequence[Pin],
    placements: Sequence[Placement],
) -> dict[str, Any]:
    """Return what would fail with these pins, as far as that is known without asking anybody."""
    recipes = {each.name for each in pipeline.recipes}
    return {
        "problems": tuple(map(str, known_beforehand(environment, pins, recipes))),
        "foreseen": foreseen(environment, pins, placements),
    }


def _with_code(
    environment: Environment,
    pipeline: Pipeline,
    ref: str,
    servers: tuple[PlannedServer, ...],
    release: Release | None,
) -> Plan:
    placements = [server.placement for server in servers]
    try:
        contents = find_contents(environment, ref)
        if release:
            taken = pins_in(release.lock.text)
            pins = _pins(environment, taken, servers)
        else:
            taken = contents.pins
            changed = changed_pins(environment, taken, placements)
            pins = {"pins": changed, "overrides": contents.laid.overrides}
        pins |= _foreseen(environment, pipeline, taken, placements)
    except (CodeError, PinError) as error:
        return Plan(environment, pipeline, ref, servers, problems=(str(error),))
    serving = most_served(placements)
    now = serving.commit if serving else ""
    mirror = mirror_of(environment.project)
    try:
        commits = tuple(mirror.log(now, contents.commit.hash))
    except CodeError:
        # The history was rewritten: the commit that is served now is in no clone any more.
        commits = (contents.commit,)
    marked = find_mark(environment, contents.commit.hash, contents.digest)
    return Plan(
        environment,
        pipeline,
        ref,
        servers,
        commit=contents.commit,
        commit_now=now,
        commits=commits,
        migrations=_new_migrations(mirror, now, contents.commit.hash),
        bad=describe_mark(marked) if marked else Message(),
        build=_build(environment, pipeline, texts_in(release.build) if release else contents.build),
        **pins,
    )


def _new_migrations(mirror: Mirror, now: str, commit: str) -> tuple[str, ...]:
    """Return what a commit has and the one now does not; nothing if that one is unknown."""
    try:
        new = migrations_in(mirror.files(commit))
        return tuple(sorted(new - migrations_in(mirror.files(now) if now else ())))
    except CodeError:
        return ()
