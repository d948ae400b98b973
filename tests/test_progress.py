"""What changed after a cursor: all of it, once, in order, in pieces of a bearable size."""

import pytest
from pytest_django import DjangoAssertNumQueries

from deploy_manager.deployments import progress
from deploy_manager.models import Deployment, State, Step
from tests.inventory import Inventory, claim
from tests.parts.admin import write_output

pytestmark = [pytest.mark.database, pytest.mark.django_db]


@pytest.fixture
def deployment(inventory: Inventory) -> Deployment:
    """Claimed, on servers `one` and `two`."""
    inventory.add_server("two")
    return claim(inventory.request("ping")).deployment


@pytest.fixture
def step(deployment: Deployment) -> Step:
    return Step.objects.get(host_run__deployment=deployment, host_run__server_name="one")


def change(step: Step) -> None:
    """Change a step as the engine's writer numbers it."""
    deployment = step.host_run.deployment
    sequence = deployment.shards.get().advance(1)
    Step.objects.filter(pk=step.pk).update(message="changed", sequence=sequence + 1)


def text_of(found: progress.Progress) -> bytes:
    return b"".join(bytes(chunk.data) for chunk in found.chunks)


def test_the_first_look_shows_everything(deployment: Deployment, step: Step) -> None:
    write_output(step, b"hello\n")
    found = progress.read(deployment.pk)
    assert [run.server_name for run in found.host_runs] == ["one", "two"]
    assert (len(found.steps), text_of(found), found.more) == (2, b"hello\n", False)
    assert found.deployment.state == State.RUNNING


def test_the_next_look_shows_what_is_new(deployment: Deployment, step: Step) -> None:
    write_output(step, b"old\n")
    cursor = progress.read(deployment.pk).cursor
    write_output(step, b"new\n")
    change(step)
    found = progress.read(deployment.pk, cursor)
    assert text_of(found) == b"new\n"
    assert [it.message for it in found.steps] == ["changed"]
    assert found.host_runs == []


def test_where_nothing_is_new_nothing_is_shown_or_asked_for(
    deployment: Deployment, step: Step, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    write_output(step, b"old\n")
    cursor = progress.read(deployment.pk).cursor
    with django_assert_num_queries(1):
        found = progress.read(deployment.pk, cursor)
    assert (found.host_runs, found.steps, found.chunks) == ([], [], [])
    assert (found.cursor, found.more) == (cursor, False)


def test_much_output_comes_in_pieces_that_miss_and_repeat_nothing(
    deployment: Deployment, step: Step
) -> None:
    lines = [b"%04d\n" % number for number in range(100)]
    for line in lines:
        write_output(step, line)
    change(step)
    seen, looks, cursor, more = b"", 0, progress.FROM_THE_START, True
    while more:
        found = progress.read(deployment.pk, cursor, max_bytes=50)
        assert len(text_of(found)) <= 50
        seen, looks, cursor, more = seen + text_of(found), looks + 1, found.cursor, found.more
    assert seen == b"".join(lines)
    assert looks == 10
    assert [it.message for it in progress.read(deployment.pk, cursor - 1).steps] == ["changed"]


def test_a_step_is_not_shown_as_ended_before_what_it_printed(
    deployment: Deployment, step: Step
) -> None:
    write_output(step, b"first\n")
    write_output(step, b"second\n")
    change(step)
    found = progress.read(deployment.pk, deployment.sequence, max_bytes=1)
    assert (text_of(found), found.steps, found.more) == (b"first\n", [], True)


def test_the_end_is_seen_with_the_hosts_it_ended(deployment: Deployment) -> None:
    cursor = progress.read(deployment.pk).cursor
    deployment.shards.get().finish(State.FAILED, "No server was touched.")
    found = progress.read(deployment.pk, cursor)
    assert found.deployment.state == State.FAILED
    assert {run.state for run in found.host_runs} == {State.SKIPPED}
    assert {it.state for it in found.steps} == {State.SKIPPED}


def test_what_is_not_there_is_an_error(db: None) -> None:
    with pytest.raises(Deployment.DoesNotExist):
        progress.read(404)
