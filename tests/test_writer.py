"""One thread writes: in order, in batches, and only as long as the claim is ours."""

import pytest

from deploy_manager import progress
from deploy_manager.exceptions import ClaimLost
from deploy_manager.models import Deployment, State, Step
from deploy_manager.runner.writer import CHUNK_BYTES, Change, Output, Writer
from tests.inventory import Inventory

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def claimed(inventory: Inventory) -> Deployment:
    deployment = Deployment.objects.claim(inventory.request("ping").pk, "here:1")
    assert deployment is not None
    return deployment


@pytest.fixture
def step(claimed: Deployment) -> Step:
    return Step.objects.get(host_run__deployment=claimed)


def log_of(deployment: Deployment) -> bytes:
    return b"".join(deployment.log_chunks.values_list("data", flat=True))


def test_output_comes_back_exactly_and_in_order(claimed: Deployment, step: Step) -> None:
    lines = [b"%06d \xff\x00 \xc3\xa9\n" % number for number in range(20_000)]
    with Writer(claimed) as writer:
        for line in lines:
            writer.put(Output(step, 1, line))
    assert log_of(claimed) == b"".join(lines)
    assert max(len(data) for data in claimed.log_chunks.values_list("data", flat=True)) <= (
        CHUNK_BYTES
    )


def test_both_streams_keep_the_order_in_which_their_lines_came(
    claimed: Deployment, step: Step
) -> None:
    with Writer(claimed) as writer:
        for number in range(10):
            writer.put(Output(step, 1 + number % 2, b"%d\n" % number))
    assert log_of(claimed) == b"".join(b"%d\n" % number for number in range(10))


def test_a_reader_never_sees_a_change_behind_its_cursor(claimed: Deployment, step: Step) -> None:
    seen, cursor = b"", progress.FROM_THE_START
    with Writer(claimed) as writer:
        for number in range(3000):
            writer.put(Output(step, 1, b"%d\n" % number))
            if number % 500 == 0:
                now = progress.read(claimed.pk, cursor)
                seen, cursor = seen + b"".join(chunk.data for chunk in now.chunks), now.cursor
    rest = progress.read(claimed.pk, cursor)
    assert seen + b"".join(chunk.data for chunk in rest.chunks) == log_of(claimed)


def test_a_step_changes_between_what_it_printed_before_and_after(
    claimed: Deployment, step: Step
) -> None:
    with Writer(claimed) as writer:
        writer.put(Change(step, {"state": State.RUNNING}))
        writer.put(Output(step, 1, b"before\n"))
        writer.put(Change(step, {"message": "half"}))
        writer.put(Output(step, 1, b"after\n"))
    step.refresh_from_db()
    before, after = claimed.log_chunks.values_list("position", flat=True)
    assert (step.state, step.message) == (State.RUNNING, "half")
    assert before < step.position < after


def test_who_lost_the_claim_writes_nothing_more(claimed: Deployment, step: Step) -> None:
    Deployment.objects.filter(pk=claimed.pk).update(token=claimed.token + 1)
    writer = Writer(claimed).__enter__()
    writer.put(Output(step, 1, b"from the past\n"))
    writer.put(Change(step, {"state": State.RUNNING}))
    assert writer.stop.wait(timeout=10)
    with pytest.raises(ClaimLost):
        writer.__exit__(None, None, None)
    step.refresh_from_db()
    assert step.state == State.QUEUED
    assert log_of(claimed) == b""


def test_a_wish_to_cancel_reaches_the_hosts(claimed: Deployment) -> None:
    with Writer(claimed) as writer:
        assert not writer.stop.is_set()
        claimed.request_cancel("somebody")
        assert writer.stop.wait(timeout=10)


def test_a_beat_is_written_while_nothing_happens(claimed: Deployment) -> None:
    before = Deployment.objects.values_list("beat_at", flat=True).get(pk=claimed.pk)
    with Writer(claimed) as writer:
        while Deployment.objects.values_list("beat_at", flat=True).get(pk=claimed.pk) == before:
            assert not writer.stop.wait(timeout=0.1)
