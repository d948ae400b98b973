"""One run for each time of a policy, done by one worker, whoever looks and however often."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from deploy_manager.messages import Message
from deploy_manager.models import PolicyRun, Upgrade, UpgradePolicy
from deploy_manager.reconcile import reconcile
from deploy_manager.signals import policy_run_due
from deploy_manager.upgrades import policies
from deploy_manager.upgrades.policies import (
    AT_WORK,
    ask_for_run,
    next_times,
    run_due_policies,
    take_up,
    wake_for_waiting_runs,
)
from deploy_manager.upgrades.policy_work import Beat, do_policy
from tests.owners import owned
from tests.parts.served import wait_until
from tests.parts.worker import StartWorker
from tests.policies import Watched
from tests.test_deployments import at_once

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

CHANGE_OF_CLOCKS = datetime(2026, 10, 25, tzinfo=UTC)
"""The day on which 3:00 in Paris becomes 2:00 again."""

NOT_DONE = "Not done: no worker finished it by its deadline."


@pytest.fixture
def woken() -> Iterator[list[int]]:
    """The runs that workers are told of."""
    told: list[int] = []

    def listen(run: PolicyRun, **details: object) -> None:
        told.append(run.pk)

    policy_run_due.connect(listen)
    yield told
    policy_run_due.disconnect(listen)


def make_policy(cron: str = "* * * * *", ago: int = 2, **fields: object) -> UpgradePolicy:
    looked_at = timezone.now() - timedelta(minutes=ago)
    return owned(
        UpgradePolicy.objects.create(
            **{"name": "nightly", "cron": cron, "deadline": 45, "looked_at": looked_at, **fields}
        )
    )


def reconciled() -> None:
    reconcile(lambda shard_id: None, look=lambda run_id: None)


def test_the_reconcile_writes_one_run_for_a_time_and_shows_a_worker(woken: list[int]) -> None:
    make_policy()
    reconciled()
    reconciled()
    run = PolicyRun.objects.get()
    assert (woken, run.outcome) == ([run.pk], "")
    assert timezone.now() - run.slot < timedelta(minutes=1)


def test_a_clock_that_goes_on_for_a_day_on_which_the_clocks_change() -> None:
    make_policy("30 2 * * *", time_zone="Europe/Paris", looked_at=CHANGE_OF_CLOCKS)
    for minute in range(0, 24 * 60, 7):
        for _scheduler in range(2):
            run_due_policies(CHANGE_OF_CLOCKS + timedelta(minutes=minute))
    slots = PolicyRun.objects.values_list("slot", flat=True)
    assert list(slots) == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


def test_an_outage_is_made_up_for_once_and_only_within_the_deadline() -> None:
    now = timezone.now()
    make_policy(ago=600)
    make_policy("0 0 1 1 *", name="yearly", ago=400 * 24 * 60)
    (run,) = run_due_policies(now)
    assert (run.policy.name, now - run.slot < timedelta(minutes=1)) == ("nightly", True)


def test_schedulers_at_the_same_moment_write_one_row(woken: list[int]) -> None:
    make_policy()
    now = timezone.now()
    made = at_once(lambda _: run_due_policies(now))
    assert sum(map(len, made)) == 1
    assert woken == [PolicyRun.objects.get().pk]


def test_a_policy_that_is_off_does_nothing() -> None:
    make_policy(is_enabled=False)
    assert run_due_policies() == []


def test_a_lost_message_is_woken_again_but_not_all_the_time(woken: list[int]) -> None:
    run = ask_for_run(make_policy(ago=0))
    assert wake_for_waiting_runs() == 0
    later = timezone.now() + timedelta(minutes=2)
    assert wake_for_waiting_runs(later) == 1
    assert wake_for_waiting_runs(later) == 0
    assert woken == [run.pk, run.pk]


def test_what_nobody_takes_up_by_its_deadline_is_never_done(woken: list[int]) -> None:
    run = ask_for_run(make_policy(ago=0))
    assert wake_for_waiting_runs(timezone.now() + timedelta(minutes=46)) == 1
    run.refresh_from_db()
    assert run.outcome == NOT_DONE
    assert not take_up(run.pk)


def test_workers_at_the_same_moment_do_a_run_once(watched: Watched) -> None:
    watched.is_vulnerable()
    run = ask_for_run(watched.policy)
    done = at_once(lambda _: take_up(run.pk))
    assert sorted(done) == [False, False, False, True]
    assert Upgrade.objects.count() == 1
    run.refresh_from_db()
    assert run.outcome.startswith("Upgrade #")


@pytest.mark.workers
def test_a_worker_elsewhere_does_what_the_reconcile_wrote(
    watched: Watched, start_worker: StartWorker
) -> None:
    start_worker()
    watched.is_vulnerable()
    watched.change(cron="* * * * *", looked_at=timezone.now() - timedelta(minutes=2))
    reconciled()
    wait_until(lambda: watched.last.outcome.startswith("Upgrade #"))
    assert Upgrade.objects.get().policy_run == watched.last


def test_who_fell_silent_is_replaced_and_writes_nothing_more(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.is_vulnerable()
    run = ask_for_run(watched.policy)
    real, answers = do_policy, list[bool]()

    def sleep_long(held: PolicyRun, beat: Beat) -> Message:
        """While the first one sleeps, the second one takes the run over and does it."""
        monkeypatch.setattr(policies, "do_policy", real)
        long_ago = timezone.now() - timedelta(minutes=16)
        PolicyRun.objects.filter(pk=held.pk).update(created_at=long_ago)
        answers.append(take_up(held.pk))
        return real(held, beat)

    monkeypatch.setattr(policies, "do_policy", sleep_long)
    assert not take_up(run.pk)
    assert answers == [True]
    assert Upgrade.objects.count() == 1
    run.refresh_from_db()
    assert run.outcome.startswith("Upgrade #")


def test_a_worker_that_beats_is_left_alone(woken: list[int]) -> None:
    run = make_policy(ago=0).runs.create(slot=timezone.now(), outcome=AT_WORK)
    assert wake_for_waiting_runs(timezone.now() + timedelta(minutes=14)) == 0
    later = timezone.now() + timedelta(minutes=16)
    assert [wake_for_waiting_runs(later) for _ in range(3)] == [1, 0, 0], "once, not every round"
    assert woken == [run.pk]


def test_a_listener_that_fails_harms_nobody(woken: list[int]) -> None:
    def fail(run: PolicyRun, **details: object) -> None:
        raise RuntimeError("No broker.")

    policy_run_due.connect(fail)
    try:
        run = ask_for_run(make_policy(ago=0))
    finally:
        policy_run_due.disconnect(fail)
    assert woken == [run.pk]


def test_the_next_times_are_reported_in_the_zone_of_the_policy() -> None:
    policy = make_policy("30 2 * * mon", time_zone="Europe/Paris")
    times = next_times(policy, 2, datetime(2026, 10, 19, 12, tzinfo=UTC))
    assert times == [
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
        datetime(2026, 11, 2, 1, 30, tzinfo=UTC),
    ]
