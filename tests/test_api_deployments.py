"""Deployments by the API: planned, requested once, watched to the end, stopped, decided about."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone
from guardian.shortcuts import assign_perm

from deploy_manager.models import Deployment, IdempotencyKey, State, Step
from tests.commands import Worker, call, call_and_fail, events
from tests.inventory import Inventory
from tests.parts.admin import make_user, write_deployment, write_output
from tests.parts.api import Caller, caller, problem_of
from tests.parts.repository import Repository

pytestmark = pytest.mark.django_db(transaction=True)

SITE = "shop/production"
GREET = {"environment": SITE, "recipe": "greet"}


@pytest.fixture
def boss() -> User:
    return make_user("boss", superuser=True)


@pytest.fixture
def who(boss: User, inventory: Inventory, own_recipes: None) -> Caller:
    return caller(boss)


@pytest.fixture
def deaf(worker: Worker) -> Worker:
    """Nobody takes up what is requested."""
    worker.is_deaf = True
    return worker


def number_in(answer: Any) -> int:
    assert answer.status_code == 201, answer.content
    return int(answer.json()["deployment"]["number"])


def watch(who: Caller, number: int, **query: Any) -> list[dict[str, Any]]:
    """Return all events of a deployment, as a client that asks again and again gets them."""
    found: list[dict[str, Any]] = []
    after, live, more = -1, True, True
    while live or more:
        told = who.get(f"deployments/{number}/events", after=after, **query).json()
        found += told["events"]
        after, live, more = told["cursor"], told["live"], told["more"]
    return found


# Plans


def test_a_plan_requests_nothing(who: Caller, inventory: Inventory) -> None:
    inventory.add_server("two")
    told = who.post("plans", GREET).json()
    assert told["servers"] == ["one", "two"]
    assert told["recipe"] == "greet"
    assert not Deployment.objects.exists()


def test_a_plan_is_what_the_command_prints(who: Caller) -> None:
    printed = events(call("recipe", SITE, "greet", "--dry-run", "--json"))[0]
    told = who.post("plans", GREET).json()
    assert {"event": "plan", **told}.items() >= printed.items()


def test_what_would_have_to_wait_is_said(who: Caller, inventory: Inventory) -> None:
    inventory.environment.freeze("Exams", "boss")
    told = who.post("plans", {**GREET, "recipe": "reload"}).json()
    assert "is frozen by boss" in told["not_now"] or told["not_now"] == ""


def test_a_plan_that_is_bound_to_fail_is_refused(who: Caller) -> None:
    told = problem_of(who.post("plans", {"environment": SITE}), 409)
    assert "/nowhere/shop.git" in told["detail"]


def test_an_unknown_recipe_is_refused(who: Caller) -> None:
    assert problem_of(who.post("plans", {**GREET, "recipe": "nope"}), 409)["code"] == (
        "unknown_recipe"
    )


def test_what_was_shown_is_what_runs(who: Caller, inventory: Inventory, deaf: Worker) -> None:
    shown = who.post("plans", GREET).json()["shown"]
    inventory.add_server("two")
    told = problem_of(who.post("deployments", {**GREET, "shown": shown}), 409)
    assert told["code"] == "plan_changed"
    shown = who.post("plans", GREET).json()["shown"]
    number_in(who.post("deployments", {**GREET, "shown": shown}))


def test_the_commit_that_was_shown_comes_even_if_the_branch_moved(
    boss: User, inventory: Inventory, repository: Repository, deaf: Worker
) -> None:
    project = inventory.environment.project
    project.repository = str(repository.path)
    project.save()
    first = repository.commit("First", {"requirements.txt": "django==5.2\n", "manage.py": ""})
    who = caller(boss)
    told = who.post("plans", {"environment": SITE}).json()
    assert told.get("commit") == first, told
    repository.commit("Second", {"requirements.txt": "django==5.1\n"})
    body = {"environment": SITE, "shown": told["shown"]}
    number = number_in(who.post("deployments", body))
    assert Deployment.objects.get(pk=number).commit == first


# Requests


def test_it_runs_and_says_how_it_ended(who: Caller, worker: Worker) -> None:
    answer = who.post("deployments", {**GREET, "reason": "Why not"})
    number = number_in(answer)
    last = watch(who, number)[-1]
    assert (last["event"], last["state"]) == ("summary", "succeeded")
    told = who.get(f"deployments/{number}").json()
    assert (told["state"], told["live"], told["why"]) == ("succeeded", False, "Why not")
    assert told["servers"] == {"one": "succeeded"}
    assert told["url"].endswith(f"/admin/deploy_manager/deployment/{number}/change/")


def test_a_second_one_is_refused_with_who_is_busy(who: Caller, deaf: Worker) -> None:
    number = number_in(who.post("deployments", GREET))
    told = problem_of(who.post("deployments", GREET), 409)
    assert f"#{number} by boss (token ci)" in told["detail"]
    assert told["code"] == "request_refused"


def test_or_waits_if_it_is_to(who: Caller, deaf: Worker) -> None:
    number_in(who.post("deployments", GREET))
    told = who.post("deployments", {**GREET, "wait": True}).json()["deployment"]
    assert told["state"] == "waiting"
    assert "is busy" in told["message"]
    assert (
        who.get("deployments", state="waiting").json()["deployments"][0]["number"]
        == (told["number"])
    )


def test_it_may_wait_for_a_time(who: Caller, deaf: Worker) -> None:
    at = timezone.now() + timedelta(hours=1)
    told = who.post("deployments", {**GREET, "at": at.isoformat()}).json()["deployment"]
    assert told["state"] == "waiting"
    assert told["not_before"].startswith(f"{at:%Y-%m-%dT%H:%M}")


def test_a_message_that_wakes_nobody_changes_no_answer(
    who: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_key: int) -> bool:
        raise RuntimeError("no broker")

    monkeypatch.setattr("deploy_manager.dispatch.wake", fail)
    number_in(who.post("deployments", GREET, key="once"))


# Idempotency


def test_the_same_key_requests_once(who: Caller, deaf: Worker) -> None:
    first = who.post("deployments", GREET, key="job-7")
    again = who.post("deployments", GREET, key="job-7")
    assert number_in(again) == number_in(first)
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert Deployment.objects.count() == 1


def test_the_same_key_for_something_else_is_refused(who: Caller, deaf: Worker) -> None:
    who.post("deployments", GREET, key="k")
    told = problem_of(who.post("deployments", {**GREET, "reason": "Other"}, key="k"), 422)
    assert told["code"] == "idempotency_key_reused"


def test_a_key_is_a_token_s_own(who: Caller, boss: User, deaf: Worker) -> None:
    first = number_in(who.post("deployments", GREET, key="k"))
    body = {**GREET, "wait": True}
    assert number_in(caller(boss).post("deployments", body, key="k")) != first


def test_a_refusal_takes_no_key(who: Caller, deaf: Worker) -> None:
    busy = number_in(who.post("deployments", GREET))
    problem_of(who.post("deployments", GREET, key="k"), 409)
    who.post(f"deployments/{busy}/cancel")
    number_in(who.post("deployments", GREET, key="k"))


def test_a_key_is_kept_for_a_day(who: Caller, deaf: Worker) -> None:
    first = number_in(who.post("deployments", GREET, key="k"))
    who.post(f"deployments/{first}/cancel")
    old = timezone.now() - timedelta(days=1, seconds=1)
    IdempotencyKey.objects.update(created_at=old)
    assert number_in(who.post("deployments", GREET, key="k")) != first


@pytest.mark.database
def test_of_two_at_once_one_is_requested(
    boss: User, inventory: Inventory, own_recipes: None, deaf: Worker
) -> None:
    who = caller(boss)
    answers: list[Any] = []

    def ask() -> None:
        answers.append(who.post("deployments", GREET, key="k"))
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({number_in(each) for each in answers}) == 1
    assert Deployment.objects.count() == 1


# Events


def test_the_events_are_those_of_the_command(who: Caller, worker: Worker) -> None:
    printed = events(call("recipe", SITE, "greet", "--json"))
    number = printed[1]["deployment"]
    wanted = [each for each in printed if each["event"] not in ("plan", "requested", "note")]
    told = watch(who, number)
    assert told[-1] == wanted[-1]
    last = {(each.get("server"), each.get("step"), each["event"]): each for each in wanted}
    for each in told:
        if each["event"] in ("host", "step"):
            assert each == last[each.get("server"), each.get("step"), each["event"]]
    assert output_of(told) == output_of(wanted)


def output_of(told: list[dict[str, Any]]) -> str:
    return "".join(each["text"] for each in told if each["event"] == "output")


def test_a_failure_is_told_as_by_the_command(
    who: Caller, inventory: Inventory, worker: Worker
) -> None:
    inventory.add_server("two")
    _code, out = call_and_fail("recipe", SITE, "fail_on_the_second", "--json")
    printed = events(out)
    assert watch(who, printed[1]["deployment"])[-1] == printed[-1]


def test_after_a_cursor_comes_only_what_is_new(who: Caller, inventory: Inventory) -> None:
    deployment = write_deployment(inventory.environment)
    step = Step.objects.get(host_run__deployment=deployment)
    write_output(step, b"first\n")
    told = who.get(f"deployments/{deployment.pk}/events").json()
    write_output(step, b"second\n")
    told = who.get(f"deployments/{deployment.pk}/events", after=told["cursor"]).json()
    assert output_of(told["events"]) == "second\n"
    assert told["live"]
    assert not told["more"]


def test_a_long_log_comes_in_parts(who: Caller, inventory: Inventory) -> None:
    deployment = write_deployment(inventory.environment, state=State.SUCCEEDED)
    step = Step.objects.get(host_run__deployment=deployment)
    for number in range(5):
        write_output(step, b"%d\n" % number)
    told = who.get(f"deployments/{deployment.pk}/events", limit_bytes=1).json()
    assert told["more"]
    assert told["events"][-1]["event"] != "summary"
    assert output_of(watch(who, deployment.pk, limit_bytes=1)) == "0\n1\n2\n3\n4\n"


def test_what_it_waits_for_is_told_when_that_changes(who: Caller, deaf: Worker) -> None:
    number_in(who.post("deployments", GREET))
    number = number_in(who.post("deployments", {**GREET, "wait": True}))
    told = who.get(f"deployments/{number}/events").json()
    assert [each["event"] for each in told["events"]][-1] == "waiting"
    again = who.get(f"deployments/{number}/events", after=told["cursor"]).json()
    assert again["events"] == []


def test_output_is_for_those_who_may_read_logs(boss: User, inventory: Inventory) -> None:
    deployment = write_deployment(inventory.environment, state=State.SUCCEEDED)
    write_output(Step.objects.get(host_run__deployment=deployment), b"told in confidence\n")
    for scopes, reads in ((["view"], False), (["view_log"], True), (["deploy"], True)):
        looks = caller(boss, scopes=scopes)
        told = watch(looks, deployment.pk)
        assert bool(output_of(told)) is reads
        assert told[-1]["event"] == "summary"
        log = looks.get(f"deployments/{deployment.pk}/log")
        assert log.status_code == (200 if reads else 403)


def test_the_log_is_exactly_what_was_printed(who: Caller, inventory: Inventory) -> None:
    inventory.add_server("two")
    deployment = write_deployment(inventory.environment, state=State.SUCCEEDED)
    for step in Step.objects.filter(host_run__deployment=deployment):
        write_output(step, step.host_run.server_name.encode() + b" \xff\x00\x1b[1m\n")
    log = who.get(f"deployments/{deployment.pk}/log")
    assert log["Content-Type"] == "text/plain; charset=utf-8"
    text = b"".join(log.streaming_content)
    assert text == b"==> one <==\none \xff\x00\x1b[1m\n==> two <==\ntwo \xff\x00\x1b[1m\n"
    one = who.get(f"deployments/{deployment.pk}/log", server="two")
    assert b"".join(one.streaming_content) == b"two \xff\x00\x1b[1m\n"
    problem_of(who.get(f"deployments/{deployment.pk}/log", server="three"), 404)


# What is done with one


def test_it_is_cancelled_once(who: Caller, deaf: Worker) -> None:
    number = number_in(who.post("deployments", GREET))
    told = who.post(f"deployments/{number}/cancel").json()
    assert told["state"] == "cancelled"
    assert told["message"] == "Cancelled by boss (token ci)."
    assert told["reason"] == ["cancelled"]
    problem_of(who.post(f"deployments/{number}/cancel"), 409)


def test_it_is_run_again_where_it_failed(who: Caller, inventory: Inventory, worker: Worker) -> None:
    inventory.add_server("two")
    body = {**GREET, "recipe": "fail_on_the_second"}
    number = number_in(who.post("deployments", body))
    assert watch(who, number)[-1]["state"] == "partly_failed"
    again = who.post(f"deployments/{number}/retry", {"reason": "Once more"}, key="r")
    told = again.json()["deployment"]
    assert told["retry_of"] == number
    assert list(told["servers"]) == ["two"]
    watch(who, told["number"])
    same = who.post(f"deployments/{number}/retry", {"reason": "Once more"}, key="r")
    assert number_in(same) == told["number"]


def test_nothing_is_run_again_where_all_succeeded(who: Caller, worker: Worker) -> None:
    number = number_in(who.post("deployments", GREET))
    watch(who, number)
    problem_of(who.post(f"deployments/{number}/retry"), 409)


@pytest.fixture
def waiting(inventory: Inventory) -> Deployment:
    return write_deployment(
        inventory.environment,
        state=State.WAITING,
        approvals_needed=1,
        approve_by=timezone.now() + timedelta(hours=1),
    )


def test_it_is_approved_as_it_was_shown(who: Caller, waiting: Deployment, deaf: Worker) -> None:
    shown = who.get(f"deployments/{waiting.pk}").json()["shown"]
    problem_of(who.post(f"deployments/{waiting.pk}/approve", {"shown": "0" * 64}), 409)
    body = {"reason": "Looks good", "shown": shown}
    told = who.post(f"deployments/{waiting.pk}/approve", body).json()
    assert told["decisions"][0]["by"] == "boss"
    assert told["decisions"][0]["decision"] == "approved"
    problem_of(who.post(f"deployments/{waiting.pk}/approve"), 409)


def test_it_is_denied_which_ends_it(who: Caller, waiting: Deployment) -> None:
    told = who.post(f"deployments/{waiting.pk}/deny", {"reason": "Not today"}).json()
    assert told["state"] == "cancelled"
    assert "Not today" in told["message"]


def test_whoever_requested_it_does_not_approve_it(
    boss: User, who: Caller, inventory: Inventory, deaf: Worker
) -> None:
    number = Deployment.objects.create(
        environment=inventory.environment,
        recipe="ping",
        state=State.WAITING,
        source="api",
        requested_by=boss,
        requested_by_name="boss (token other)",
        approvals_needed=1,
    ).pk
    told = problem_of(who.post(f"deployments/{number}/approve"), 409)
    assert "another person" in told["detail"]


def test_glass_is_broken_with_a_reason(who: Caller, waiting: Deployment, deaf: Worker) -> None:
    problem_of(who.post(f"deployments/{waiting.pk}/break-glass", {"reason": ""}), 422)
    problem_of(who.post(f"deployments/{waiting.pk}/break-glass", {"reason": "  "}), 409)
    told = who.post(f"deployments/{waiting.pk}/break-glass", {"reason": "The shop is down"}).json()
    assert told["breaks_glass"]
    assert told["decisions"][-1]["by"] == "boss (token ci)"


# Lists


def test_the_newest_come_first_and_page_by_page(who: Caller, inventory: Inventory) -> None:
    numbers = [write_deployment(inventory.environment, state=State.SUCCEEDED).pk for _ in range(5)]
    first = who.get("deployments", limit=2).json()
    assert [each["number"] for each in first["deployments"]] == numbers[:-3:-1]
    second = who.get("deployments", limit=3, before=first["before"]).json()
    assert [each["number"] for each in second["deployments"]] == numbers[2::-1]
    assert second["before"] is None


def test_only_what_may_be_seen_is_listed(inventory: Inventory) -> None:
    write_deployment(inventory.environment, state=State.SUCCEEDED)
    ann = make_user("ann")
    assert caller(ann).get("deployments").json()["deployments"] == []
    assign_perm("view_environment", ann, inventory.environment)
    assert len(caller(ann).get("deployments").json()["deployments"]) == 1


def test_an_environment_says_what_it_serves(
    who: Caller, inventory: Inventory, deaf: Worker
) -> None:
    inventory.environment.freeze("Exams", "boss")
    number = number_in(who.post("deployments", GREET))
    told = who.get(f"environments/{SITE}").json()
    assert told["live_deployment"]["number"] == told["last_deployment"]["number"] == number
    assert "Exams" in told["frozen"]
    assert [each["server"] for each in told["servers"]] == ["one"]
