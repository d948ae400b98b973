"""`manage.py cancel`: what it ends, and how that is told."""

import pytest

from deploy_manager.models import Deployment, State, Step
from deploy_manager.recipes import Host, Site, recipe
from tests.commands import Worker, call, call_and_be_refused, events
from tests.inventory import Inventory
from tests.parts.served import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_recipes", "worker"),
]


def wait_in_line(inventory: Inventory) -> Deployment:
    call("recipe", "production", "greet", "--wait", "--no-wait")
    return Deployment.objects.latest("pk")


def test_what_nobody_took_up_ends_at_once(inventory: Inventory) -> None:
    deployment = inventory.request("greet")
    printed = call("cancel", "production")
    deployment.refresh_from_db()
    assert deployment.state == State.CANCELLED
    assert "Cancelled by" in printed
    assert "cancelled" in printed


def test_what_runs_is_stopped_and_seen_to_its_end(inventory: Inventory, worker: Worker) -> None:
    @recipe("Cancel itself")
    def cancel_itself(host: Host, site: Site) -> None:
        host.run("sleep 60")

    deployment = inventory.request("cancel_itself")
    worker.wake(deployment.pk)
    begun = Step.objects.filter(host_run__deployment=deployment).exclude(started_at=None)
    wait_until(begun.exists)
    told = events(call("cancel", str(deployment.pk), "--json"))
    assert told[-1]["event"] == "summary"
    assert told[-1]["state"] == "cancelled"
    assert told[-1]["servers"] == {"one": "cancelled"}


def test_what_is_under_way_is_cancelled_before_what_waits(inventory: Inventory) -> None:
    under_way = inventory.request("greet")
    waiting = wait_in_line(inventory)
    call("cancel", "production", "--no-wait")
    under_way.refresh_from_db()
    assert under_way.state == State.CANCELLED
    call("cancel", "production", "--no-wait")
    waiting.refresh_from_db()
    assert waiting.state == State.CANCELLED


def test_of_several_that_wait_one_has_to_be_named(inventory: Inventory) -> None:
    inventory.environment.freeze("Moving house", "me@here")
    numbers = []
    for _ in range(2):
        call("recipe", "production", "activate", "--wait", "--no-wait")
        numbers.append(Deployment.objects.latest("pk").pk)
    told = call_and_be_refused("cancel", "production")
    assert "Name one by its number" in told
    assert all(str(number) in told for number in numbers)


def test_what_has_ended_can_t_be_cancelled(inventory: Inventory) -> None:
    deployment = inventory.request("greet")
    deployment.request_cancel("me@here")
    assert "has ended already: cancelled." in call_and_be_refused("cancel", f"#{deployment.pk}")
    assert "Nothing is under way on shop/production." in call_and_be_refused("cancel", "production")
