"""`manage.py deploy` and `manage.py recipe`: what is asked for, shown and returned."""

import re
import threading

import pytest

from deploy_manager import dispatch
from deploy_manager.models import Deployment, Environment, Project, State
from tests.commands import Worker, call, call_and_be_refused, call_and_fail, events
from tests.inventory import Inventory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_recipes", "worker"),
]


@pytest.fixture
def two_servers(inventory: Inventory) -> Inventory:
    inventory.add_server("two")
    return inventory


def test_each_servers_lines_begin_with_its_name(two_servers: Inventory) -> None:
    printed = call("recipe", "production", "greet")
    assert "[one] hello from one\n" in printed
    assert "[two] hello from two\n" in printed
    assert "shop/production: Greet" in printed
    assert "one, two" in printed
    assert "succeeded" in printed.splitlines()[-1]


def test_the_row_shows_who_asked_through_which_source_and_why(inventory: Inventory) -> None:
    call("recipe", "production", "greet", "--reason", "to say hello")
    deployment = Deployment.objects.get()
    assert (deployment.source, deployment.reason) == ("manage.py", "to say hello")
    assert "@" in deployment.requested_by_name


def test_one_failed_server_is_exit_code_1_and_named(two_servers: Inventory) -> None:
    code, printed = call_and_fail("recipe", "production", "fail_on_the_second")
    assert code == 1
    assert "[two] oops" in printed
    assert "partly failed" in printed


def test_only_the_named_servers_take_part(two_servers: Inventory) -> None:
    assert "[one]" not in call("recipe", "production", "greet", "--server", "two")


def test_json_is_one_object_a_line_and_the_summary_last(two_servers: Inventory) -> None:
    code, printed = call_and_fail("recipe", "production", "fail_on_the_second", "--json")
    told = events(printed)
    assert code == 1
    assert [event["event"] for event in told[:2]] == ["plan", "requested"]
    assert {"output", "step", "host"} <= {event["event"] for event in told}
    assert told[-1]["event"] == "summary"
    assert told[-1]["state"] == "partly_failed"
    assert told[-1]["servers"] == {"one": "succeeded", "two": "failed"}


def test_who_does_not_wait_is_reported_the_number(inventory: Inventory, worker: Worker) -> None:
    worker.is_deaf = True
    printed = call("recipe", "production", "greet", "--no-wait", "--json")
    assert events(printed)[-1]["event"] == "summary"
    assert events(printed)[-2] == {
        "event": "requested",
        "deployment": Deployment.objects.get().pk,
        "state": "queued",
        "message": "",
    }


def test_who_does_not_wait_is_reported_where_to_look(inventory: Inventory, worker: Worker) -> None:
    worker.is_deaf = True
    printed = call("recipe", "production", "greet", "--no-wait")
    number = Deployment.objects.get().pk
    assert f"#{number} queued\n" in printed
    assert f"The admin shows its progress, under Deployments, #{number}." in printed


def test_where_no_worker_takes_it_that_is_given_while_waiting(
    inventory: Inventory, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy_manager.cli.deployments.following.NO_WORKER_AFTER", 0.1)
    late: list[threading.Timer] = []

    def wake_late(deployment_id: int) -> bool:
        late.append(threading.Timer(0.8, worker.work, args=(deployment_id,)))
        late[0].start()
        return True

    monkeypatch.setattr(dispatch, "wake", wake_late)
    printed = call("recipe", "production", "greet")
    late[0].join()
    assert "No worker has taken it yet" in printed
    assert Deployment.objects.get().state == State.SUCCEEDED


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["deploy", "prod"], "Environments: shop/production"),
        (["recipe", "production", "greet", "--server", "nine"], "has no server nine"),
        (["recipe", "production", "greet", "--ref", "main"], "takes no code"),
        (["recipe", "production", "gret"], "Choose one of: .*deploy.*greet"),
        (["deploy", "production"], "nowhere"),
    ],
)
def test_what_is_refused_is_exit_code_2_and_writes_nothing(
    inventory: Inventory, words: list[str], told: str
) -> None:
    assert re.search(told, call_and_be_refused(*words))
    assert not Deployment.objects.exists()


def test_a_busy_environment_says_with_what(inventory: Inventory) -> None:
    inventory.request("greet")
    assert "is busy: greet #" in call_and_be_refused("recipe", "production", "greet")


def test_an_ambiguous_name_needs_the_project(inventory: Inventory) -> None:
    other = Project.objects.create(name="blog", repository="/nowhere/blog.git")
    Environment.objects.create(project=other, name="production", deploy_path="/srv/blog")
    assert "--project" in call_and_be_refused("recipe", "production", "greet")
    assert "hello" in call("recipe", "production", "greet", "--project", "shop")


def test_without_a_name_the_recipes_are_listed(inventory: Inventory) -> None:
    listed = call("recipe", "production")
    assert any(line.split() == ["greet", "Greet"] for line in listed.splitlines())
    assert "deploy" in listed
    assert not Deployment.objects.exists()
