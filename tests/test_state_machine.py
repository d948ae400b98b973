"""Whatever happens in whatever order, no rule of the design is broken.

Hypothesis requests, claims, works, falls silent, takes over, reconciles, cancels and freezes.
A few examples run with every other test, 25 with --long; 2,000 of 50 steps each are tried by
`STATE_MACHINE=full pytest --long tests/test_state_machine.py`.
"""

import os
from datetime import timedelta

import hypothesis
import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django import Settings

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.rollout import arrive
from deploy_manager.exceptions import ClaimLost, RequestRefused
from deploy_manager.models import (
    BUSY,
    LIVE,
    ROLLBACK_PHASE,
    Deployment,
    HostRun,
    Release,
    Shard,
    ShardState,
    State,
    Step,
)
from deploy_manager.models.requirements import LockFile
from deploy_manager.reconcile import reconcile
from tests.machine import machine_pipeline, make_environment

__all__ = ["machine_pipeline"]

pytestmark = [pytest.mark.database, pytest.mark.workers, pytest.mark.django_db]

SHARD_HOSTS = 2
FEW, MANY = 4, 2000 if os.environ.get("STATE_MACHINE") == "full" else 25


class Deploying(RuleBasedStateMachine):
    """One environment, four servers in two shards, and any number of workers."""

    def __init__(self) -> None:
        super().__init__()
        self._example = transaction.atomic()
        self._example.__enter__()
        self._environment = make_environment()
        self._holders: list[Shard] = []
        self._sequences: dict[int, int] = {}
        self._done_once: set[int] = set()
        self._steps_tried = 0
        self._messages: list[int] = []

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self._example.__exit__(None, None, None)

    @initialize()
    def begin(self) -> None:
        self.ask(waits=False)

    @rule(waits=st.booleans())
    def ask(self, waits: bool) -> None:
        release = Release.objects.create(
            environment=self._environment,
            name=f"r{Release.objects.count()}",
            commit="c" * 40,
            lock=LockFile.objects.of("d" * 64, ""),
        )
        options = DeploymentOptions(release=release, waits=waits)
        try:
            made = request(
                self._environment,
                "machine",
                source="fab",
                requested_by_name="me@here",
                options=options,
            )
        except RequestRefused:
            assert not waits
        else:
            self._messages += made.shards.order_by("pk").values_list("pk", flat=True)

    @precondition(lambda self: self._messages)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        """A message arrives, perhaps for the second time."""
        self._claim(data.draw(st.sampled_from(self._messages[-6:])))

    def _claim(self, pk: int) -> None:
        before = Shard.objects.select_related("deployment").get(pk=pk)
        held = Shard.objects.claim(pk, "worker")
        if held is None:
            return
        assert before.deployment.state in BUSY
        assert held.token == before.token + 1
        assert before.state == ShardState.QUEUED or is_silent(before)
        self._holders.append(held)

    @precondition(lambda self: self._holders)
    @rule(data=st.data(), goes_well=st.integers(0, 39))
    def work(self, data: st.DataObject, goes_well: int) -> None:
        """A holder runs what the open stage has for its hosts, as far as it gets, and arrives."""
        self._work(self._draw_holder(data), goes_well)

    @rule(goes_well=st.integers(0, 39), most=st.integers(1, 5))
    def work_on(self, goes_well: int, most: int) -> None:
        """Somebody takes whatever may be taken, again and again."""
        for _ in range(most):
            Deployment.objects.exclude(opens_at=None).update(opens_at=timezone.now())
            reconcile(self._messages.append, look=lambda pk: None)
            for pk in list(Shard.objects.to_claim().order_by("pk").values_list("pk", flat=True)):
                self._claim(pk)
            for held in self._holders[-3:]:
                self._work(held, goes_well)

    def _work(self, held: Shard, goes_well: int) -> None:
        if not self._may_write(held):
            return
        deployment = Deployment.objects.get(pk=held.deployment_id)
        for run in held.host_runs.filter(state__in=BUSY).order_by("pk"):
            self._work_on(held, run, deployment.stage, goes_well)
        verdict = arrive(held, deployment.stage)
        self._messages += verdict.wake

    @precondition(lambda self: self._holders)
    @rule(data=st.data())
    def beat_or_give_back(self, data: st.DataObject) -> None:
        held = self._draw_holder(data)
        if self._may_write(held) and data.draw(st.booleans()):
            assert held.release()

    @precondition(lambda self: self._holders)
    @rule(data=st.data(), seconds=st.sampled_from([12, 60]))
    def fall_silent(self, data: st.DataObject, seconds: int) -> None:
        held = self._draw_holder(data)
        before = timezone.now() - timedelta(seconds=seconds)
        held.held().update(beat_at=before)
        Shard.objects.filter(pk=held.pk).update(woken_at=before)

    @rule(pauses_are_over=st.booleans())
    def time_passes(self, pauses_are_over: bool) -> None:
        if pauses_are_over:
            Deployment.objects.exclude(opens_at=None).update(opens_at=timezone.now())
        reconcile(self._messages.append, look=lambda pk: None)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        live = list(Deployment.objects.live().order_by("pk"))
        if live and data.draw(st.integers(0, 3)) == 0:
            data.draw(st.sampled_from(live)).request_cancel("the boss")

    @rule(chance=st.integers(0, 5))
    def freeze(self, chance: int) -> None:
        if chance == 0:
            self._environment.freeze("holidays", "the boss")
        else:
            self._environment.thaw("me")

    @invariant()
    def one_holds_the_environment(self) -> None:
        assert Deployment.objects.busy().count() <= 1

    @invariant()
    def what_ended_has_ended_wholly(self) -> None:
        ended = Deployment.objects.exclude(state__in=LIVE)
        assert not HostRun.objects.filter(deployment__in=ended, state__in=LIVE).exists()
        assert not Step.objects.filter(host_run__deployment__in=ended, state__in=LIVE).exists()
        shards = Shard.objects.filter(deployment__in=ended)
        assert not shards.exclude(state=ShardState.ENDED).exists()

    @invariant()
    def ends_are_true(self) -> None:
        for deployment in Deployment.objects.filter(state=State.SUCCEEDED):
            hosts = set(deployment.host_runs.values_list("state", flat=True))
            assert hosts == {State.SUCCEEDED}
        waiting = Deployment.objects.filter(state=State.WAITING)
        assert not Shard.objects.filter(deployment__in=waiting, token__gt=0).exists()

    @invariant()
    def sequences_only_grow(self) -> None:
        for pk, sequence in Deployment.objects.values_list("pk", "sequence"):
            assert sequence >= self._sequences.get(pk, 0)
            self._sequences[pk] = sequence

    @invariant()
    def no_stage_is_open_before_the_one_before_has_ended(self) -> None:
        for deployment in Deployment.objects.busy():
            early = Step.objects.filter(
                host_run__deployment=deployment,
                host_run__state__in=BUSY,
                state__in=BUSY,
                stage__lt=deployment.stage,
            ).exclude(phase=ROLLBACK_PHASE)
            assert not early.exists()

    @invariant()
    def somebody_can_go_on(self) -> None:
        """What is live is held, may be claimed, pauses, or waits for other shards that do."""
        for deployment in Deployment.objects.filter(state__in=BUSY, opens_at=None):
            active = deployment.shards.filter(state__in=[ShardState.QUEUED, ShardState.HELD])
            assert active.exists()

    def _draw_holder(self, data: st.DataObject) -> Shard:
        held: Shard = data.draw(st.sampled_from(self._holders[-5:]))
        return held

    def _may_write(self, held: Shard) -> bool:
        """Whether a holder still holds; one that does not must not be able to write."""
        now = Shard.objects.get(pk=held.pk)
        if (now.state, now.token) == (ShardState.HELD, held.token):
            with transaction.atomic():
                held.advance(0)
            return True
        before = rows()
        for write in (lambda: held.advance(0), lambda: arrive(held, held.deployment.stage)):
            with pytest.raises(ClaimLost):
                write()
        assert not held.finish(State.SUCCEEDED)
        assert not held.release()
        assert rows() == before
        return False

    def _work_on(self, held: Shard, run: HostRun, stage: int, goes_well: int) -> None:
        for step in run.steps.filter(stage=stage, state__in=BUSY).order_by("number"):
            # Not by the step's key: PostgreSQL gives none twice, and a replay must do the same.
            self._steps_tried += 1
            is_well = (self._steps_tried + goes_well) % 40 != 0
            if step.recipe == "machine_once" and is_well:
                assert step.host_run.deployment_id not in self._done_once
                self._done_once.add(step.host_run.deployment_id)
            self._end(step, run, is_well)
            if not is_well:
                return

    def _end(self, step: Step, run: HostRun, is_well: bool) -> None:
        ended = {"finished_at": timezone.now()}
        state = State.SUCCEEDED if is_well else State.FAILED
        Step.objects.filter(pk=step.pk).update(state=state, **ended)
        HostRun.objects.filter(pk=run.pk, state=State.QUEUED).update(
            state=State.RUNNING, started_at=timezone.now()
        )
        if is_well and step.phase == "activate":
            HostRun.objects.filter(pk=run.pk).update(was_switched=True)
        if not is_well:
            Step.objects.filter(host_run=run, state__in=BUSY).update(state=State.SKIPPED, **ended)
            HostRun.objects.filter(pk=run.pk).update(state=State.FAILED, **ended)


def is_silent(held: Shard) -> bool:
    return held.beat_at is not None and held.beat_at < timezone.now() - timedelta(seconds=10)


def rows() -> list[object]:
    return [list(kind._default_manager.values()) for kind in (Deployment, Shard, HostRun, Step)]


@pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
def test_no_rule_is_ever_broken(machine_pipeline: None, settings: Settings, examples: int) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SHARD_HOSTS": SHARD_HOSTS}
    assert connection.in_atomic_block
    run_state_machine_as_test(Deploying, settings=tried(examples))


def tried(examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
