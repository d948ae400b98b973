"""What was confirmed is what runs: compared before anything begins, and confirmed anew by people.

A request keeps what decided when it was shown. Schedules, the environments of policies and the
stages of upgrades keep what decided when a person with the right last saved or confirmed them. An
edit by such a person confirms what was edited, and no earlier edit of somebody else; an edit whose
author is not known, as by a command or SQL, confirms nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db.models import Model, Q
from django.utils.translation import gettext_noop as _

from deploy_manager.auditing import ADDED, CHANGED, DELETED
from deploy_manager.deployments.decided import (
    FIXED_BY_REQUEST,
    PINS,
    Change,
    Description,
    as_read,
    describe,
    differences,
    gateways_of,
    kept,
)
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.waves import Planned
from deploy_manager.exceptions import DeployManagerError, PlanChanged
from deploy_manager.messages import Message, few
from deploy_manager.models import (
    UPGRADE_LIVE,
    AuditEvent,
    ConfirmedPlan,
    Deployment,
    Environment,
    Placement,
    PolicyEnvironment,
    Release,
    Schedule,
    Server,
    Step,
    UpgradePolicy,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.deployments import right_to
from deploy_manager.models.rights import Right, may
from deploy_manager.recipes import Pipeline, Uses

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_NAMED = 5
"""Changes in one message."""

PIN_ROWS = ("override",)
"""Tables whose rows are pins, as the audit names them; requirements change with an environment."""

Holder = Schedule | PolicyEnvironment | UpgradeStage
"""A row that keeps what was confirmed, for what it does later."""


def describe_request(
    environment: Environment,
    pipeline: Pipeline,
    planned: Planned,
    release: Release | None = None,
) -> Description:
    """Describe what decides what a request would run, as it was planned."""
    takes_pins = pipeline.uses is Uses.NEW and release is None
    return describe(environment, planned.steps, pins=takes_pins, recipes=planned.recipes)


def refuse_another_plan(shown: str, now: Description) -> None:
    """Raise PlanChanged if what was shown, by its digest, is not what would run now."""
    if shown and shown != now.digest:
        plan = ConfirmedPlan.objects.filter(digest=shown).first()
        changes = differences(kept(plan), now) if plan else []
        raise PlanChanged(why_changed(changes, plan))


def describe_for(deployment: Deployment) -> Description:
    """Describe what decides what runs now on the servers that a deployment still has."""
    runs = deployment.host_runs.filter(placement__environment=deployment.environment_id)
    keys = set(runs.values_list("placement", flat=True))
    steps = Step.objects.filter(host_run__deployment=deployment).order_by("recipe")
    return describe(
        deployment.environment,
        [each for each in deployment.environment.placements.all() if each.pk in keys],
        pins=deployment.uses == Uses.NEW.value and deployment.release_id is None,
        recipes=set(steps.values_list("recipe", flat=True).distinct()),
    )


def changes_of(deployment: Deployment) -> list[Change]:
    """Return what was changed since a deployment was requested, except on servers that left."""
    if deployment.plan is None:
        return []
    return _changes_since(deployment.plan, describe_for(deployment))


def _changes_since(plan: ConfirmedPlan, now: Description) -> list[Change]:
    return differences(_still_there(kept(plan), now), now, FIXED_BY_REQUEST)


def _changed_while_read(read: Description, now: Description) -> list[Change]:
    """Return what was read otherwise than it is now: an edit that was taken back meanwhile."""
    ours = {part.id: part for part in read.parts}
    there = (
        # Of a placement there is more than its row.
        replace(part, fields={name: part.fields.get(name) for name in ours[part.id].fields})
        if part.kind == Placement._meta.model_name
        else part
        for part in now.parts
        if part.id in ours
    )
    return differences(Description(tuple(there)), read, FIXED_BY_REQUEST)


def _still_there(before: Description, now: Description) -> Description:
    """Leave out servers that left, and pins once they are in the deployment's own lock file."""
    there = {part.id for part in now.parts}
    gone_is_fine = {Placement._meta.model_name, Server._meta.model_name, *PINS}
    parts = (part for part in before.parts if part.id in there or part.kind not in gone_is_fine)
    return Description(tuple(parts))


def refuse_what_changed(deployment: Deployment) -> None:
    """Raise PlanChanged if a deployment would not run as it was confirmed."""
    if changes := changes_of(deployment):
        raise PlanChanged(why_changed(changes, deployment.plan))


def refuse_other_pins(deployment: Deployment) -> None:
    """Raise PlanChanged if the pins that were read are not those that were confirmed.

    The environment's requirements have to be fetched along with it, before they are read.
    """
    refuse_what_changed(deployment)
    read = as_read(deployment.environment, pins=True)
    if changes := _changed_while_read(read, describe_for(deployment)):
        raise PlanChanged(why_changed(changes, deployment.plan))


def split_by_server(
    deployment: Deployment, placements: Iterable[Placement]
) -> tuple[list[Change], dict[int, list[Change]]]:
    """Return the changes that concern all servers, and those of single placements by their keys.

    The placements, and their environment, are those that were read to be worked on.
    """
    if deployment.plan is None:
        return [], {}
    placements, now = list(placements), describe_for(deployment)
    changes = _changes_since(deployment.plan, now)
    changes += _changed_while_read(as_read(deployment.environment, placements), now)
    builder = deployment.environment.builder_id
    builds = gateways_of(now, str(builder)) if builder else set()
    everybody: list[Change] = []
    alone: dict[int, list[Change]] = {}
    for change in changes:
        concerned = _concerned(change, now, placements)
        if concerned is None or (change.part.kind == "server" and change.part.key in builds):
            everybody.append(change)
            continue
        for key in concerned:
            alone.setdefault(key, []).append(change)
    return everybody, alone


def _concerned(
    change: Change, now: Description, placements: Iterable[Placement]
) -> list[int] | None:
    """Return the placements that a change is about; None: all of them."""
    part = change.part
    if part.kind == Placement._meta.model_name:
        return [int(part.key)]
    if part.kind != Server._meta.model_name:
        return None
    return [each.pk for each in placements if part.key in gateways_of(now, str(each.server_id))]


def why_changed(changes: Sequence[Change], plan: ConfirmedPlan | None) -> Message:
    """Return what was changed since it was confirmed, and by whom as far as that is known."""
    lines = [change.describe() for change in changes[:MOST_NAMED]]
    if (more := len(changes) - MOST_NAMED) > 0:
        lines.append(Message(_("and %(count)d more"), count=more))
    if editors := _editors(changes, plan):
        lines.append(Message(_("Changed by %(who)s."), who=few(editors)))
    head = _("Changed since it was confirmed:") if lines else _("Changed since it was confirmed.")
    return Message.lines(Message(head, "plan_changed"), *lines)


def _editors(changes: Sequence[Change], plan: ConfirmedPlan | None) -> list[str]:
    """Return who has made these changes since then, as the audit has it; the last one first."""
    if plan is None:
        return []
    of_rows = Q(kind__in=PIN_ROWS, environment_key__in=_environments_in(plan))
    if not any(each.part.kind in PINS for each in changes):
        of_rows = Q()
    for kind, key in {(each.part.kind, each.part.key) for each in changes}:
        of_rows |= Q(kind=kind, key=key)
    events = AuditEvent.objects.filter(
        of_rows, action__in=(ADDED, CHANGED, DELETED), at__gt=plan.created_at
    )
    made = (event.who for event in events.order_by("-at") if _is_of(event, changes))
    return list(dict.fromkeys(made))


def _is_of(event: AuditEvent, changes: Sequence[Change]) -> bool:
    """Whether an event made one of these changes, not another one of the same row."""
    if event.action != CHANGED or event.kind in PIN_ROWS:
        return True
    of_it = [each for each in changes if (each.part.kind, each.part.key) == (event.kind, event.key)]
    return any(not each.name or each.name in {*event.before, *event.after} for each in of_it)


def _environments_in(plan: ConfirmedPlan) -> list[str]:
    return [part.key for part in kept(plan).parts if part.kind == Environment._meta.model_name]


def described_for(holder: Holder) -> Description:
    """Describe what decides what a schedule, or an upgrade on its environment, runs now."""
    if isinstance(holder, Schedule):
        recipes, takes_pins = _facts_of(holder.environment, holder.recipe)
        return describe(holder.environment, pins=takes_pins, recipes=recipes, actor=holder)
    # An upgrade brings its own pins.
    actor = holder.policy if isinstance(holder, PolicyEnvironment) else None
    return describe(holder.environment, pins=False, actor=actor)


def _facts_of(environment: Environment, recipe: str) -> tuple[list[str], bool]:
    """Return the recipes of a pipeline, and whether it installs what is listed."""
    try:
        pipeline = pipeline_for(environment, recipe)
    except DeployManagerError:
        return [], True  # it is refused in its turn, with the reason
    return [each.name for each in pipeline.recipes], pipeline.uses is Uses.NEW


def changed_since(holder: Holder) -> list[Change]:
    """Return what was changed since a person with the right confirmed it; all, if nobody has."""
    before = kept(holder.plan) if holder.plan else Description(())
    after = described_for(holder)
    if holder.plan and before.digest == after.digest:
        return []
    return differences(before, after)


def confirm(holder: Holder) -> None:
    """Keep what decides now as what was confirmed."""
    plan = described_for(holder).save()
    type(holder).objects.filter(pk=holder.pk).update(plan=plan)
    holder.plan = plan


@contextmanager
def confirming_own_edits(row: Model, user: "User | None" = None) -> Iterator[None]:
    """Let what is edited in this block count as confirmed, as far as `user` has the right.

    `row` is what is edited: a project, a server, an environment or a row of one. No user means the
    app itself, which carries out what people with the right have requested. What somebody else
    edited before stays unconfirmed.
    """
    holders = [each for each in _holders(row) if user is None or _may(user, each)]
    held = [(each, each.plan_id) for each in holders if not _is_changed(each)]
    yield
    for holder, plan in held:
        found = type(holder).objects.filter(pk=holder.pk).first()
        # Somebody else may have confirmed it, or taken it away, meanwhile.
        if found is not None and found.plan_id == plan:
            confirm(found)


def _is_changed(holder: Holder) -> bool:
    return holder.plan is None or described_for(holder).digest != holder.plan.digest


def _may(user: "User", holder: Holder) -> bool:
    # Where people approve, an edit confirmed by its author could be approved by its author: what it
    # brings is requested in the owner's name, who alone may not approve.
    if holder.environment.approvals_needed and user.pk != _owner_of(holder):
        return False
    if isinstance(holder, Schedule):
        return may(user, right_to(holder.recipe), holder.environment)
    return may(user, Right.UPGRADE, holder.environment)


def _owner_of(holder: Holder) -> int | None:
    """Return the user in whose name a holder's deployments are requested."""
    if isinstance(holder, Schedule):
        return holder.owner_id
    if isinstance(holder, PolicyEnvironment):
        return holder.policy.owner_id
    return holder.upgrade.requested_by_id


def _holders(row: Model) -> list[Holder]:
    """Return what keeps a confirmed plan in which a row has a part."""
    sites = environments_of(row)
    if not sites:
        return []
    schedules = Schedule.objects.filter(environment__in=sites).exclude(plan=None)
    turns = PolicyEnvironment.objects.filter(environment__in=sites).exclude(plan=None)
    # One that waits keeps what was confirmed with its upgrade.
    stages = UpgradeStage.objects.filter(environment__in=sites).exclude(plan=None)
    live = stages.filter(upgrade__state__in=UPGRADE_LIVE).exclude(state=UpgradeState.WAITING)
    related = ("plan", "environment__project")
    return [
        *schedules.select_related(*related),
        *turns.select_related("policy", *related),
        *live.select_related("upgrade", *related),
    ]


def environments_of(row: Model) -> set[int]:
    """Return the keys of the environments in whose plans a row has a part."""
    if isinstance(row, Environment):
        return {row.pk}
    if isinstance(row, UpgradePolicy):
        return set(row.turns.values_list("environment", flat=True))
    if isinstance(row, Server):
        behind = _with_those_behind(row)
        sites = Environment.objects.filter(Q(servers__in=behind) | Q(builder__in=behind))
        return set(sites.values_list("pk", flat=True))
    if (environment := getattr(row, "environment_id", None)) is not None:
        return {environment}
    sites = Environment.objects.filter(project=row.pk)
    return set(sites.values_list("pk", flat=True))


def _with_those_behind(server: Server) -> set[int]:
    """Return a server and all that are reached through it."""
    found, new = {server.pk}, {server.pk}
    while new:
        new = set(Server.objects.filter(gateway__in=new).values_list("pk", flat=True)) - found
        found |= new
    return found
