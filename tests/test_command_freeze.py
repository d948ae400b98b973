"""`manage.py freeze` and `thaw`, and asking for a time: what is kept from changing until when."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone

from deploy_manager.deployments.times import parse_moment
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Shard, State
from tests.commands import Worker, call, call_and_be_refused, events
from tests.inventory import Inventory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_recipes", "worker"),
]
IN_PARIS = Environment(time_zone="Europe/Paris")


def test_a_frozen_environment_refuses_and_says_why(inventory: Inventory) -> None:
    printed = call("freeze", "production", "--reason", "Sales until Monday")
    assert "is frozen by" in printed
    assert "until it is thawed: Sales until Monday" in printed
    assert "Sales until Monday" in call_and_be_refused("recipe", "production", "activate")
    assert "hello from one" in call("recipe", "production", "greet"), "nothing is released by it"


def test_a_freeze_may_have_an_end_by_the_environments_own_clock(inventory: Inventory) -> None:
    Environment.objects.update(time_zone="Europe/Paris")
    told = call("freeze", "production", "--reason", "Sales", "--until", "2099-07-01 08:00")
    assert "until 2099-07-01 08:00 CEST: Sales" in " ".join(told.split())
    assert inventory.environment.freezes.get().until == datetime(2099, 7, 1, 6, tzinfo=UTC)


def test_who_freezes_again_is_reported_of_the_freeze_before(inventory: Inventory) -> None:
    call("freeze", "production", "--reason", "Sales")
    printed = call("freeze", "production", "--reason", "Holidays")
    assert "This replaces another freeze: shop/production is frozen by" in printed
    newest, before = inventory.environment.freezes.all()
    assert newest.reason == "Holidays"
    assert before.ended_by_name == newest.frozen_by_name


def test_thawing_begins_what_waited_for_it(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr("deploy_manager.dispatch.wake_for_shard", woken.append)
    call("freeze", "production", "--reason", "Sales")
    printed = call("recipe", "production", "activate", "--wait", "--no-wait")
    assert "waiting" in printed
    assert "is frozen by" in printed
    assert "The deployment that waited begins." in call("thaw", "production")
    deployment = Deployment.objects.get()
    assert deployment.state == State.QUEUED
    assert woken == [deployment.shards.get().pk]


@pytest.mark.parametrize(("others", "told"), [(1, "another one waits"), (2, "2 others wait")])
def test_of_several_that_waited_the_first_begins(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, others: int, told: str
) -> None:
    monkeypatch.setattr("deploy_manager.dispatch.wake_for_shard", lambda pk: True)
    call("freeze", "production", "--reason", "Sales")
    for _number in range(1 + others):
        call("recipe", "production", "activate", "--wait", "--no-wait")
    later = (timezone.now() + timedelta(hours=1)).isoformat()
    call("recipe", "production", "activate", "--at", later, "--no-wait")
    assert f"The deployment that waited longest begins; {told}" in call("thaw", "production")


def test_thawing_what_is_not_frozen_does_no_harm(inventory: Inventory) -> None:
    told = events(call("thaw", "production", "--json"))
    summary = {"event": "summary", "environment": "shop/production", "state": "thawed"}
    assert told[-1] == summary
    assert told[-2] == {
        "event": "freeze",
        "environment": "shop/production",
        "frozen": False,
        "reason": "",
        "until": None,
    }


@pytest.mark.parametrize(
    ("reason", "until", "told"),
    [
        ("Sales", "tomorrow", "'tomorrow' is not a date and time: write it like 2026-11-24 02:00"),
        ("Sales", "2099-01-01", "is not a date and time"),
        ("Sales", "2001-01-01 08:00", "2001-01-01 08:00:00 UTC is in the past."),
        (" ", "", "Give a reason"),
        ("x" * 501, "", "longer than 500"),
    ],
)
def test_what_can_t_be_frozen_so_is_refused(
    inventory: Inventory, reason: str, until: str, told: str
) -> None:
    refused = call_and_be_refused("freeze", "production", "--reason", reason, "--until", until)
    assert told in refused
    assert not inventory.environment.is_frozen


def test_what_is_asked_for_at_a_time_waits_for_it(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy_manager.broker.is_reconciled", lambda: False)
    later = timezone.now() + timedelta(hours=1)
    printed = call("recipe", "production", "greet", "--at", later.isoformat(), "--no-wait")
    deployment = Deployment.objects.get()
    assert (deployment.state, deployment.not_before) == (State.WAITING, later)
    assert "Waits for its time." in printed
    assert "`manage.py reconcile --forever 5s` starts waiting" in printed


def test_who_waits_in_line_sees_it_begin(
    inventory: Inventory, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wake_for_shard(pk: int) -> bool:
        return worker.wake(Shard.objects.get(pk=pk).deployment_id)

    monkeypatch.setattr("deploy_manager.dispatch.wake_for_shard", wake_for_shard)
    worker.is_deaf = True
    first = inventory.request("greet")

    def end_the_first() -> None:
        worker.is_deaf = False
        first.request_cancel("me@here")
        connections.close_all()

    end = threading.Timer(0.5, end_the_first)
    end.start()
    printed = call("recipe", "production", "greet", "--wait")
    end.join()
    assert f"is busy: greet #{first.pk} by me@here is queued" in printed
    assert "waits no longer" in printed
    assert "[one] hello from one" in printed


def test_a_time_without_an_offset_is_one_of_the_environments_clock() -> None:
    assert parse_moment("2099-07-01 02:00", IN_PARIS) == datetime(2099, 7, 1, tzinfo=UTC)
    assert parse_moment("2099-07-01T02:00+00:00", IN_PARIS) == datetime(2099, 7, 1, 2, tzinfo=UTC)


def test_a_time_that_comes_twice_has_to_be_said_with_its_offset() -> None:
    with pytest.raises(RequestRefused, match="occurs twice in Europe/Paris") as refusal:
        parse_moment("2035-10-28 02:30", IN_PARIS)
    assert "write 2035-10-28 02:30+0200 or 2035-10-28 02:30+0100." in str(refusal.value)
    assert parse_moment("2035-10-28 02:30+0100", IN_PARIS) == datetime(
        2035, 10, 28, 1, 30, tzinfo=UTC
    )


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(RequestRefused, match="2035-03-25 02:30 does not exist in Europe/Paris"):
        parse_moment("2035-03-25 02:30", IN_PARIS)
