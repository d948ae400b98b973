"""The rollout of a deployment: what comes after each stage, and how the whole of it ended.

The last shard to end a stage reads the rows and decides: go on, pause, stop, roll back, or finish.
Each decision is one transaction with the deployment's row locked, under the token of the shard that
arrived. No shard waits for another: one that is not the last goes home, and a worker is woken for
it when it has work again. Only rows are read: the code that carries a deployment out may be of
another version than the code that planned it, so no recipe or phase is looked up.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, reduce

from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.deployments.ending import finish
from deploy_manager.messages import Message
from deploy_manager.models import (
    BROKEN,
    BUSY,
    ROLLBACK_PHASE,
    Deployment,
    HostRun,
    Shard,
    ShardState,
    State,
    Step,
)
from deploy_manager.models.deployments import cancelled_by
from deploy_manager.models.runs import ACTIVATE, VERIFIED, end_hosts, is_verified
from deploy_manager.models.transactions import brief_transaction
from deploy_manager.packages.overrides import end_overtaken
from deploy_manager.rollout_size import is_too_many

NOT_NEEDED = Message(_("Not needed."), "not_needed")

SERVES_NEW = _("The new release serves on %(servers)s.")
SERVES_AGAIN = _("What served before serves again on %(servers)s.")
HALF_BACK = _("Stopped in the rollback, so look at what serves: %(servers)s.")
NOT_SWITCHED = _("Not switched: %(servers)s.")


@dataclass(frozen=True)
class Verdict:
    """What a shard that arrived does next."""

    stage: int | None = None
    """The stage it continues with; None: it goes home."""

    wake: tuple[int, ...] = field(default=())
    """Shards that have work now."""


def arrive(held: Shard, stage: int) -> Verdict:
    """Note that a shard's hosts have ended a stage; the last shard opens the next one.

    A second time, after a connection that died behind the commit, it returns the stage that was
    opened then. Raises ClaimLost, also if the shard had gone home by it: `reconcile` wakes others.
    """
    with brief_transaction():
        held.advance(1)  # locks the deployment's row: of two that arrive at once one is the last
        deployment = Deployment.objects.get(pk=held.deployment_id)
        if held.held().filter(arrived__gt=stage).exists():
            queued = deployment.shards.filter(state=ShardState.QUEUED)
            return Verdict(deployment.stage, tuple(queued.values_list("pk", flat=True)))
        Shard.objects.filter(pk=held.pk).update(arrived=deployment.stage + 1)
        others = deployment.shards.filter(arrived__lte=deployment.stage)
        if others.exclude(state=ShardState.ENDED).exists():
            _send_home(held)
            return Verdict()
        return _continue(deployment, held)


def open_after_pause(deployment_id: int) -> tuple[int, ...]:
    """Open the stage that a pause held back; return the shards to wake, none while it lasts."""
    with brief_transaction():
        # Conditional: any number of processes may come here when the pause ends; one opens it.
        due = Deployment.objects.filter(pk=deployment_id, state=State.RUNNING, opens_at__lte=Now())
        if not due.update(opens_at=None, sequence=F("sequence") + 1):
            return ()
        deployment = Deployment.objects.get(pk=deployment_id)
        return _continue(deployment, None, has_paused=True).wake


def _continue(deployment: Deployment, held: Shard | None, has_paused: bool = False) -> Verdict:
    state = RolloutState(deployment)
    if deployment.cancel_requested_at:
        by = cancelled_by(deployment.cancel_requested_by_name)
        end_idle_hosts(deployment, State.CANCELLED, by)
        return _finish(deployment)
    if why := state.why_to_stop():
        # Servers that were switched go on to be verified, unless they return to what they served.
        end_idle_hosts(deployment, State.SKIPPED, why, state.not_switched())
        if state.wants_rollback():
            state.turn_back()
        if deployment.release and state.is_release_rejected():
            deployment.release.mark_bad(why)
        state.look_again()
    stage = state.next_stage()
    if stage is None:
        return _finish(deployment)
    if not has_paused and state.pauses_before(stage):
        opens_at = Now() + timedelta(seconds=deployment.pause)
        Deployment.objects.filter(pk=deployment.pk).update(opens_at=opens_at)
        if held:
            _send_home(held)
        return Verdict()
    return _open(deployment, stage, held)


def _open(deployment: Deployment, stage: int, held: Shard | None) -> Verdict:
    """Let the shards with work in a stage begin it; the others count as arrived already."""
    Deployment.objects.filter(pk=deployment.pk).update(stage=stage)
    busy = set(
        Step.objects.filter(
            host_run__deployment=deployment,
            host_run__state__in=BUSY,
            state__in=BUSY,
            stage=stage,
        ).values_list("host_run__shard", flat=True)
    )
    shards = deployment.shards.exclude(state=ShardState.ENDED)
    shards.exclude(pk__in=busy).update(arrived=stage + 1)
    # The shard that decides keeps its claim: queued, it could be claimed twice.
    others = shards.filter(pk__in=busy - {held.pk} if held else busy)
    # woken_at, too: if this message is lost, the next round of `reconcile` sends another one.
    others.update(arrived=stage, state=ShardState.QUEUED, holder="", woken_at=None)
    wake = tuple(others.values_list("pk", flat=True))
    if held and held.pk in busy:
        return Verdict(stage, wake)
    if held:
        _send_home(held)
    return Verdict(None, wake)


def _send_home(held: Shard) -> None:
    held.held().update(state=ShardState.WAITING, holder="")


def _finish(deployment: Deployment) -> Verdict:
    end_idle_hosts(deployment, State.SUCCEEDED, Message())
    state, message = sum_up(deployment)
    if finish(deployment, state, message) and state is State.SUCCEEDED:
        with confirming_own_edits(deployment.environment):
            end_overtaken(deployment)
    return Verdict()


def end_idle_hosts(
    deployment: Deployment, state: State, message: Message, hosts: Iterable[int] | None = None
) -> None:
    """End live hosts that no worker works on, all or some; one with nothing left has succeeded.

    To be called with the deployment's row locked.
    """
    live = deployment.host_runs.filter(state__in=BUSY)
    if hosts is not None:
        live = live.filter(pk__in=list(hosts))
    found = list(live.prefetch_related("steps"))
    at, sequence = Now(), deployment.sequence
    rollback = Step.objects.filter(host_run__in=found, phase=ROLLBACK_PHASE, state__in=BUSY)
    # First: `end_hosts` would end these with the reason why their host was stopped.
    rollback.update(state=State.SKIPPED, message=NOT_NEEDED, finished_at=at, sequence=sequence)
    done = [host for host in found if host.came_through]
    end_hosts(done, State.SUCCEEDED, "", finished_at=at, sequence=sequence)
    others = [host for host in found if not host.came_through]
    stay = [host for host in others if is_verified(host.steps.all())]
    end_hosts(
        stay,
        state,
        Message.lines(message, VERIFIED),
        finished_at=at,
        sequence=sequence,
        why=message,
    )
    others = [host for host in others if host not in stay]
    end_hosts(others, state, message, finished_at=at, sequence=sequence)


def _hosts_of(deployment: Deployment) -> list[HostRun]:
    """The hosts that count: not those that were left out before it began."""
    hosts = deployment.host_runs.prefetch_related("steps").order_by("pk")
    return [host for host in hosts if not host.is_left_out]


class RolloutState:
    """A deployment's hosts and steps between two stages, and what follows from them."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._stage = deployment.stage
        self._turns_back = False

    def look_again(self) -> None:
        """Forget what was read: some hosts have been ended since."""
        del self._hosts

    @cached_property
    def _hosts(self) -> list[HostRun]:
        return _hosts_of(self._deployment)

    @property
    def _live(self) -> list[HostRun]:
        return [host for host in self._hosts if host.state in BUSY]

    @property
    def _broken(self) -> list[HostRun]:
        return [host for host in self._hosts if host.state in BROKEN]

    def why_to_stop(self) -> Message:
        """Why no other server may get the release; blank: the rollout goes on."""
        broken = self._broken
        # A rollback is stopped by nothing: the servers it has not reached serve what failed.
        if not broken or self._stage == self._rollback_stage:
            return Message()
        for host in broken:
            # A step that stands for all servers has no spare: migrations that failed, failed.
            step = _failed_step(host)
            if step and step.stage == self._stage and step.gate and step.once:
                return Message(
                    _("Stopped, since %(failed)s."),
                    "too_many_failed",
                    failed=_failed_on(step.phase_name, [host.server_name]),
                )
        most = self._deployment.max_failures
        # Before the first stage, too: a server may have left a moment ago.
        steps = self._steps_of(self._stage)
        is_decisive = not self._stage or any(step.gate or step.in_waves for step in steps)
        if is_decisive and is_too_many(len(broken), len(self._hosts), most):
            return Message(
                _("Stopped, since %(failed)s: %(most)s of %(count)s may fail."),
                "too_many_failed",
                failed=self._what_failed(),
                most=most or 0,
                count=len(self._hosts),
            )
        return Message()

    def _what_failed(self) -> Message:
        """Each phase that failed, in their order, with the servers; then those without a step."""
        failed: dict[tuple[int, int, str], list[str]] = {}
        without: list[str] = []
        for host in self._broken:
            if step := _failed_step(host):
                key = (step.stage, step.number, step.phase_name)
                failed.setdefault(key, []).append(host.server_name)
            else:
                without.append(host.server_name)
        # Several steps of one phase may have failed, each on other servers: named once.
        by_phase: dict[str, list[str]] = {}
        for key in sorted(failed):
            by_phase.setdefault(key[2], []).extend(failed[key])
        said = [_failed_on(phase, names) for phase, names in by_phase.items()]
        if without:
            names = ", ".join(without)
            said.append(Message(_("%(servers)s could not be worked on"), servers=names))
        return reduce(_and, said)

    def not_switched(self) -> list[int]:
        """The hosts that are still live and do not serve the release."""
        return [host.pk for host in self._live if not host.was_switched]

    def wants_rollback(self) -> bool:
        """Whether servers that were switched return to what they served."""
        return self._deployment.rolls_back and any(
            host.was_switched and host.release_before_id not in (None, self._deployment.release_id)
            for host in self._live
        )

    def turn_back(self) -> None:
        """Make the rollback the next stage."""
        self._turns_back = True

    def is_release_rejected(self) -> bool:
        """Whether servers leave the release for what they served, or did so on their own."""
        return self._turns_back or any(host.state == State.ROLLED_BACK for host in self._hosts)

    def next_stage(self) -> int | None:
        """The next stage with work on a live host; None: nothing is left."""
        if self._turns_back:
            return self._rollback_stage
        stages = [
            step.stage
            for host in self._live
            for step in host.steps.all()
            if step.state in BUSY and not step.is_rollback
        ]
        return min((stage for stage in stages if stage > self._stage), default=None)

    def pauses_before(self, stage: int) -> bool:
        """Whether the deployment pauses between waves, and this is between two of them."""
        if self._turns_back or not self._deployment.pause:
            return False
        return all(
            any(step.in_waves for step in self._steps_of(each)) for each in (self._stage, stage)
        )

    @property
    def _rollback_stage(self) -> int | None:
        return next((step.stage for step in self._steps if step.is_rollback), None)

    @property
    def _steps(self) -> Iterator[Step]:
        return (step for host in self._hosts for step in host.steps.all())

    def _steps_of(self, stage: int) -> list[Step]:
        return [step for step in self._steps if step.stage == stage]


def _failed_on(phase: str, servers: list[str]) -> Message:
    return Message(
        _("%(phase)s failed on %(servers)s"), phase=Message(phase), servers=", ".join(servers)
    )


def _and(one: Message, other: Message) -> Message:
    return Message(_("%(one)s and %(other)s"), one=one, other=other)


def _failed_step(host: HostRun) -> Step | None:
    """The step that broke a host; None: something else did."""
    failed = (State.FAILED, State.LOST)
    own = (step for step in host.steps.all() if not step.is_rollback)
    return next((step for step in own if step.state in failed), None)


def sum_up(deployment: Deployment) -> tuple[State, Message]:
    """Return a deployment's state and message, from those of its hosts."""
    hosts = _hosts_of(deployment)
    states = {State(host.state) for host in hosts}
    broken = [host for host in hosts if host.state in BROKEN]
    reasons = Message.lines(
        *(
            Message("%(server)s: %(why)s", server=host.server_name, why=host.message)
            for host in broken
        )
    )
    # The order matters: a cancellation comes first, then that some servers succeeded.
    if states == {State.SUCCEEDED}:
        return State.SUCCEEDED, Message()
    if State.CANCELLED in states:
        by = cancelled_by(deployment.cancel_requested_by_name)
        return State.CANCELLED, Message.lines(by, _reached(hosts), reasons)
    if State.SUCCEEDED in states:
        return State.PARTLY_FAILED, reasons
    if State.LOST in states:
        return State.LOST, reasons
    if State.ROLLED_BACK in states and State.FAILED not in states:
        return State.ROLLED_BACK, reasons
    return State.FAILED, reasons


def _reached(hosts: list[HostRun]) -> Message:
    """On which servers something was done before a cancellation, and what they serve since."""
    reached = [host for host in hosts if host.started_at]
    if not reached:
        return Message(_("No server was reached."))
    serving: dict[str, list[HostRun]] = defaultdict(list)
    for host in reached:
        serving[_serves_since(host)].append(host)
    names = Message(_("Reached: %(servers)s."), servers=_names(reached))
    if set(serving) == {NOT_SWITCHED}:
        return Message.lines(names, _("No server was switched."))
    return Message.lines(
        names,
        *(
            Message(text, servers=_names(serving[text]))
            for text in (SERVES_NEW, SERVES_AGAIN, HALF_BACK, NOT_SWITCHED)
            if text in serving
        ),
    )


def _serves_since(host: HostRun) -> str:
    """Return what a server serves after a cancellation; blank: unknown, or no change was due."""
    steps = list(host.steps.all())
    back = [step for step in steps if step.is_rollback]
    if any(step.has_begun for step in back):
        return SERVES_AGAIN if all(step.state == State.SUCCEEDED for step in back) else HALF_BACK
    if host.was_switched or is_verified(steps):
        return SERVES_NEW
    switches = [step for step in steps if step.recipe == ACTIVATE and not step.is_rollback]
    return NOT_SWITCHED if switches and not any(step.has_begun for step in switches) else ""


def _names(hosts: list[HostRun]) -> str:
    return ", ".join(host.server_name for host in hosts)
