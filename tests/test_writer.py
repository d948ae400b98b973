"""One thread writes: in order, in batches, and only as long as the claim is ours."""

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deploy_manager.deployments import progress
from deploy_manager.deployments import writer as writing
from deploy_manager.deployments.rollout import Verdict, arrive
from deploy_manager.deployments.writer import CHUNK_BYTES, Change, Event, HostEnd, Output, Writer
from deploy_manager.exceptions import ClaimLost
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, LogChunk, Shard, ShardState, State, Step
from tests.inventory import Inventory, claim

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def held(inventory: Inventory) -> Shard:
    return claim(inventory.request("ping"))


@pytest.fixture
def claimed(held: Shard) -> Deployment:
    return held.deployment


def resume_cursor(number: int = 0) -> dict[str, int]:
    return {"command": 0, "own": 0, "out": number, "err": 0}


@pytest.fixture
def step(claimed: Deployment) -> Step:
    return Step.objects.get(host_run__deployment=claimed)


def log_of(deployment: Deployment) -> bytes:
    return b"".join(deployment.log_chunks.values_list("data", flat=True))


def test_output_comes_back_exactly_and_in_order(
    held: Shard, claimed: Deployment, step: Step
) -> None:
    lines = [b"%06d \xff\x00 \xc3\xa9\n" % number for number in range(20_000)]
    with Writer(held) as writer:
        for line in lines:
            writer.put(Output(step, 1, line, resume_cursor()))
    assert log_of(claimed) == b"".join(lines)
    assert max(len(data) for data in claimed.log_chunks.values_list("data", flat=True)) <= (
        CHUNK_BYTES
    )


def test_both_streams_keep_the_order_in_which_their_lines_came(
    held: Shard, claimed: Deployment, step: Step
) -> None:
    with Writer(held) as writer:
        for number in range(10):
            writer.put(Output(step, 1 + number % 2, b"%d\n" % number, resume_cursor(number)))
    assert log_of(claimed) == b"".join(b"%d\n" % number for number in range(10))


def test_a_reader_never_sees_a_change_behind_its_cursor(
    held: Shard, claimed: Deployment, step: Step
) -> None:
    seen, cursor = b"", progress.FROM_THE_START
    with Writer(held) as writer:
        for number in range(3000):
            writer.put(Output(step, 1, b"%d\n" % number, resume_cursor(number)))
            if number % 500 == 0:
                now = progress.read(claimed.pk, cursor)
                seen, cursor = seen + b"".join(chunk.data for chunk in now.chunks), now.cursor
    rest = progress.read(claimed.pk, cursor)
    assert seen + b"".join(chunk.data for chunk in rest.chunks) == log_of(claimed)


def test_a_step_changes_between_what_it_printed_before_and_after(
    held: Shard, claimed: Deployment, step: Step
) -> None:
    with Writer(held) as writer:
        writer.put(Change(step, {"state": State.RUNNING}))
        writer.put(Output(step, 1, b"before\n", resume_cursor()))
        writer.put(Change(step, {"message": "half"}))
        writer.put(Output(step, 1, b"after\n", resume_cursor()))
    step.refresh_from_db()
    before, after = claimed.log_chunks.values_list("sequence", flat=True)
    assert (step.state, step.message) == (State.RUNNING, "half")
    assert before < step.sequence < after


def test_who_lost_the_claim_writes_nothing_more(
    held: Shard, claimed: Deployment, step: Step
) -> None:
    Shard.objects.filter(pk=held.pk).update(token=held.token + 1)
    writer = Writer(held).__enter__()
    writer.put(Output(step, 1, b"from the past\n", resume_cursor()))
    writer.put(Change(step, {"state": State.RUNNING}))
    assert writer.leave.wait(timeout=10)
    with pytest.raises(ClaimLost):
        writer.__exit__(None, None, None)
    step.refresh_from_db()
    assert step.state == State.QUEUED
    assert log_of(claimed) == b""


def test_a_wish_to_cancel_reaches_the_hosts(held: Shard, claimed: Deployment) -> None:
    with Writer(held) as writer:
        assert not writer.stop.is_set()
        claimed.request_cancel("somebody")
        assert writer.stop.wait(timeout=10)


def test_a_beat_is_written_while_nothing_happens(held: Shard) -> None:
    before = Shard.objects.values_list("beat_at", flat=True).get(pk=held.pk)
    with Writer(held) as writer:
        while Shard.objects.values_list("beat_at", flat=True).get(pk=held.pk) == before:
            assert not writer.stop.wait(timeout=0.1)


def test_up_to_where_output_is_stored_stands_with_it(held: Shard, step: Step) -> None:
    with Writer(held) as writer:
        for number in range(1, 4):
            writer.put(Output(step, 1, b"%d\n" % number, resume_cursor(2 * number)))
    step.refresh_from_db()
    assert step.resume_cursor == resume_cursor(6)


def test_a_database_that_is_away_for_a_moment_loses_and_doubles_nothing(
    held: Shard, claimed: Deployment, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, False, True, True])
    write_once = Writer._write_once

    def write(writer: Writer, batch: list[object]) -> None:
        if next(failures, False):
            raise OperationalError("gone")
        write_once(writer, batch)  # type: ignore[arg-type]
        if next(failures, False):
            raise OperationalError("gone after the commit")

    monkeypatch.setattr(Writer, "_write_once", write)
    with Writer(held) as writer:
        for number in range(5):
            writer.put(Output(step, 1, b"%d\n" % number, resume_cursor(number)))
            writer.drain()
    assert log_of(claimed) == b"0\n1\n2\n3\n4\n"


def test_an_arrival_whose_connection_died_behind_the_commit_skips_no_stage(
    held: Shard, claimed: Deployment, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {"recipe": "ping", "title": "Ping", "phase": "later", "stage": 1}
    Step.objects.create(host_run=step.host_run, number=2, **later)
    failures = iter([True])

    def die_behind_it(held: Shard, stage: int) -> Verdict:
        verdict = arrive(held, stage)
        if next(failures, False):
            raise OperationalError("gone after the commit")
        return verdict

    monkeypatch.setattr(writing, "arrive", die_behind_it)
    with Writer(held) as writer:
        assert writer.arrive(0).stage == 1
    claimed.refresh_from_db()
    assert (claimed.state, claimed.stage) == (State.RUNNING, 1)
    assert Shard.objects.get(pk=held.pk).arrived == 1


def test_who_lost_the_claim_leaves_what_runs_to_others(held: Shard) -> None:
    Shard.objects.filter(pk=held.pk).update(token=held.token + 1)
    with pytest.raises(ClaimLost), Writer(held) as writer:  # noqa: PT012  its end raises
        assert writer.leave.wait(timeout=10)
        assert not writer.stop.is_set()
        assert not writer.still_holds()


def test_a_shard_that_went_home_beats_no_more(held: Shard) -> None:
    with Writer(held) as writer:
        writer.arrive(0)
        assert Shard.objects.get(pk=held.pk).state != ShardState.QUEUED


def test_what_one_batch_says_of_a_row_is_one_update(held: Shard, step: Step) -> None:
    now, run = timezone.now(), held.host_runs.get()
    batch: list[Event] = [
        Change(run, {"state": State.RUNNING, "started_at": now}),
        Change(step, {"state": State.RUNNING, "started_at": now}),
        Output(step, 1, b"begun\n", resume_cursor(6)),
        Change(step, {"state": State.SUCCEEDED, "finished_at": now, "exit_code": 0}),
        Change(step, {"state": State.FAILED, "exit_code": 1}),  # it has ended
    ]
    with CaptureQueriesContext(connection) as seen:
        Writer(held)._write(batch)
    step.refresh_from_db()
    assert (step.state, step.started_at, step.finished_at) == (State.SUCCEEDED, now, now)
    assert (step.exit_code, step.resume_cursor) == (0, resume_cursor(6))
    assert step.sequence == LogChunk.objects.get().sequence + 1
    updates = [each["sql"] for each in seen if each["sql"].startswith("UPDATE")]
    assert sum('"deploy_manager_step"' in each for each in updates) == 1


def test_nothing_is_written_of_a_host_behind_its_end(held: Shard, step: Step) -> None:
    now, run = timezone.now(), held.host_runs.get()
    Writer(held)._write(
        [
            Change(step, {"state": State.RUNNING, "started_at": now}),
            HostEnd(run, State.FAILED, Message("It failed."), now),
            Change(step, {"state": State.SUCCEEDED, "finished_at": now}),
            Change(run, {"was_switched": True}),
        ]
    )
    step.refresh_from_db()
    run.refresh_from_db()
    assert (step.state, step.started_at, run.state) == (State.FAILED, now, State.FAILED)
    assert not run.was_switched
