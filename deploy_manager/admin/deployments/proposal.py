"""The plan of one environment as the confirmation page shows it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from deploy_manager.admin.badges import check_badge
from deploy_manager.admin.deployments.forms import RunForm
from deploy_manager.deployments.comparing import Twin, compare
from deploy_manager.deployments.dry_run import DryStep, dry_run
from deploy_manager.deployments.freezes import why_not_now
from deploy_manager.deployments.gates import statuses_of
from deploy_manager.deployments.plan import Plan, make_plan
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, Environment, Placement, Release
from deploy_manager.models.serving import most_served
from deploy_manager.recipes import Pipeline


@dataclass(frozen=True)
class ServerLine:
    """A server of the environment, chosen or not, and the steps it would take."""

    placement: Placement
    chosen: bool
    steps: tuple[str, ...]
    wave: int
    """0 if it is left out."""

    twin: Twin | None = None
    """How its release differs from that of most servers, if both have the same commit."""


@dataclass(frozen=True)
class WaveLines:
    """The servers that are activated together."""

    number: int
    lines: tuple[ServerLine, ...]


@dataclass(frozen=True)
class Rehearsed:
    """The commands of one stage, server by server."""

    heading: str
    steps: tuple[DryStep, ...]


@dataclass(frozen=True)
class Proposal:
    """One environment, its form, and the plan made from the form."""

    environment: Environment
    form: RunForm
    plan: Plan | None
    waves: tuple[WaveLines, ...]
    problems: tuple[str, ...] = ()
    busy: Deployment | None = None
    """The live deployment of the environment, which a new one has to wait for."""

    not_now: Message = field(default_factory=Message)
    """The freeze, closed window or checks that a deployment has to wait for."""

    checks: tuple[tuple[str, SafeString], ...] = ()
    """The checks of the CI that are demanded, each with a badge of what is known of it."""

    release: Release | None = None
    """The existing release that would be sent."""

    commit_now: str = ""
    twin: Twin | None = None
    """How the release differs from that of most servers, if both have the same commit."""

    rehearsal: tuple[Rehearsed, ...] = ()

    @property
    def can_run(self) -> bool:
        return self.can_wait and self.busy is None and not self.not_now

    @property
    def can_wait(self) -> bool:
        """Whether it would run, now or once the environment is free."""
        return not self.problems

    @property
    def shown_ref(self) -> str:
        return self.form.ref_now if self.form.is_bound else self.environment.ref

    @property
    def shown_servers(self) -> str:
        return ",".join(self.form.servers_now)

    @property
    def shown_plan(self) -> str:
        """The digest of what decides what would run, which the form sends back."""
        # Kept, so that what is changed until then can be named.
        return self.plan.decided.save().digest if self.plan else ""

    @property
    def shown_take_back(self) -> str:
        """The pins that are taken back, as the form sends them for confirmation."""
        pins = self.plan.taken_back if self.plan else ()
        return json.dumps([pin.as_json() for pin in pins]) if pins else ""

    @property
    def wave_count(self) -> int:
        """The number of waves, without the servers that are left out."""
        return sum(bool(wave.number) for wave in self.waves)


def propose(environment: Environment, pipeline: Pipeline, form: RunForm) -> Proposal:
    """Plan what a form asks for; whatever prevents it is among the problems."""
    plan, release, problems = _plan(environment, pipeline, form)
    placements = list(environment.placements.all())
    serving = most_served(placements)
    try:
        not_now = why_not_now(environment, pipeline, timezone.now())
    except RequestRefused as error:
        # Windows written around forms can be unreadable, which does not mean closed.
        not_now, problems = Message(), (*problems, str(error))
    if plan and (gate := plan.gate).why:
        not_now = Message.lines(*filter(None, (not_now, gate.waits)))
        problems = (*problems, str(gate.refused)) if gate.refused else problems
    return Proposal(
        environment=environment,
        form=form,
        plan=plan,
        waves=_waves(placements, serving, form, plan),
        problems=problems,
        busy=Deployment.objects.busy().filter(environment=environment).first(),
        not_now=not_now,
        checks=_checks(environment, plan),
        release=release,
        commit_now=serving.commit if serving else "",
        twin=_twin(serving, release),
    )


def _checks(environment: Environment, plan: Plan | None) -> tuple[tuple[str, SafeString], ...]:
    if plan is None or plan.commit is None or not environment.required_statuses:
        return ()
    known = statuses_of(environment, plan.commit.hash)
    return tuple((name, check_badge(state)) for name, state in known)


def _twin(serving: Release | None, release: Release | None) -> Twin | None:
    """Compare a release with the serving one; None unless both have the same commit."""
    if serving is None or release is None or serving == release:
        return None
    return compare(serving, release) if serving.commit == release.commit else None


def rehearse(proposal: Proposal, pipeline: Pipeline) -> Proposal:
    """Return the proposal with every command that would run, or with why it would fail."""
    if proposal.problems or not proposal.form.is_bound:
        return proposal
    try:
        steps = list(dry_run(proposal.environment, pipeline.name, proposal.form.options()))
    except DeployManagerError as error:
        return replace(proposal, problems=(str(error),))
    order = [phase.name for phase in pipeline.phases]
    steps.sort(key=lambda step: (step.stage, order.index(step.phase)))
    stages = groupby(steps, key=lambda step: (step.stage, step.phase))
    # A list: groupby's groups are gone once the next one is read.
    groups = [(phase, tuple(group)) for (_stage, phase), group in stages]
    return replace(
        proposal,
        rehearsal=tuple(
            Rehearsed(_heading(proposal, pipeline, phase, group[0].server), group)
            for phase, group in groups
        ),
    )


def _heading(proposal: Proposal, pipeline: Pipeline, name: str, server: str) -> str:
    """Return the title of a phase, with its wave if there are several."""
    phase = next(phase for phase in pipeline.phases if phase.name == name)
    if proposal.wave_count < 2 or not phase.in_waves:
        return _(phase.title)
    wave = next(
        wave.number
        for wave in proposal.waves
        if any(line.placement.server.name == server for line in wave.lines)
    )
    return _("%(phase)s, wave %(number)d of %(count)d") % {
        "phase": _(phase.title),
        "number": wave,
        "count": proposal.wave_count,
    }


def _plan(
    environment: Environment, pipeline: Pipeline, form: RunForm
) -> tuple[Plan | None, Release | None, tuple[str, ...]]:
    """Return the plan, the release and the problems; no plan if the form itself is invalid."""
    if form.is_bound and not form.is_valid():
        return None, None, tuple(str(line) for lines in form.errors.values() for line in lines)
    try:
        release, promotes = form.find_release(), form.find_promoted()
        ref = release.commit if release else form.ref_now
        plan = make_plan(
            environment, pipeline.name, ref, form.servers_now, release, promotes=promotes
        )
    except RequestRefused as error:
        return None, None, (str(error),)
    return plan, release or promotes, plan.problems


def _waves(
    placements: Sequence[Placement], serving: Release | None, form: RunForm, plan: Plan | None
) -> tuple[WaveLines, ...]:
    planned = {server.placement.pk: server for server in plan.servers} if plan else {}
    chosen = form.servers_now
    lines = [
        ServerLine(
            each,
            each.server.name in chosen,
            tuple(map(_, planned[each.pk].steps)) if each.pk in planned else (),
            planned[each.pk].wave if each.pk in planned else 0,
            _twin(serving, each.active_release),
        )
        for each in placements
    ]
    # Stable: within a wave the environment's order stays. What is left out comes last.
    lines.sort(key=lambda line: (line.wave == 0, line.wave))
    waves = groupby(lines, key=lambda line: line.wave)
    return tuple(WaveLines(number, tuple(group)) for number, group in waves)
