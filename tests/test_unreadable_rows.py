"""What was written around a form holds up its own row only, and stands where people look."""

from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from deploy_manager.checks import check_problems
from deploy_manager.deployments.notifying import send_notifications
from deploy_manager.models import Deployment, Environment, Problem, State
from deploy_manager.upgrades import policies
from tests.commands import call
from tests.loop import Pair
from tests.parts.admin import url
from tests.parts.matrices import few

pytestmark = pytest.mark.django_db


def state_of(deployment: Deployment) -> str:
    deployment.refresh_from_db()
    return deployment.state


BAD_TIMES: dict[str, dict[str, Any]] = {
    "no window": {"windows": ["whenever"]},
    "no list": {"windows": 5},
    "a list of numbers": {"windows": [5]},
    "an unknown zone": {"windows": ["daily 00:00-24:00"], "time_zone": "Europe/Nowhere"},
    "a zone that is a folder": {"windows": ["daily 00:00-24:00"], "time_zone": "Europe"},
}


@pytest.mark.parametrize("times", few(*BAD_TIMES.values(), first=2), ids=BAD_TIMES)
def test_times_that_nobody_can_read_hold_up_one_site_only_and_stand_on_its_page(
    pair: Pair, admin_client: Client, times: dict[str, Any]
) -> None:
    bad, good = pair.waiting(pair.bad), pair.waiting(pair.good)
    Environment.objects.filter(pk=pair.bad.pk).update(**times)
    pair.reconcile()
    assert (state_of(bad), state_of(good)) == (State.WAITING, State.QUEUED)
    why = pair.problems()["bad"]
    assert why.startswith("The allowed times of shop/bad can't be read: ")
    for name, key in (("environment", pair.bad.pk), ("deployment", bad.pk)):
        page = admin_client.get(url(f"{name}_change", key)).content.decode()
        assert escape(why) in page
    assert why in check_problems()[0].msg
    asked = admin_client.get(url("environment_run", "collect_static", on=pair.bad.pk))
    assert escape(why) in asked.content.decode()


@pytest.mark.parametrize(
    "wrong",
    [{"cron": "99 * * * *"}, {"cron": ""}, {"time_zone": "Europe/Nowhere"}, {"recipe": "gone"}],
    ids=str,
)
def test_a_schedule_that_nobody_can_read_says_so(pair: Pair, wrong: dict[str, Any]) -> None:
    bad, good = pair.schedule(pair.bad), pair.schedule(pair.good)
    type(bad).objects.filter(pk=bad.pk).update(**wrong)
    pair.reconcile()
    assert good.deployments.exists()
    assert pair.problems().keys() == {"bad"}
    type(bad).objects.filter(pk=bad.pk).update(cron="* * * * *", time_zone="UTC", recipe="ping")
    pair.reconcile()
    assert bad.deployments.exists()
    assert not pair.problems()


@pytest.mark.parametrize(
    "wrong", [{"cron": "99 * * * *"}, {"time_zone": "Europe/Nowhere"}], ids=str
)
def test_a_policy_that_nobody_can_read_says_so(
    pair: Pair, admin_client: Client, wrong: dict[str, Any]
) -> None:
    bad, good = pair.policy(pair.bad), pair.policy(pair.good)
    type(bad).objects.filter(pk=bad.pk).update(**wrong)
    pair.reconcile()
    assert good.runs.exists()
    page = admin_client.get(url("upgradepolicy_change", bad.pk)).content.decode()
    assert escape(Problem.objects.get().text) in page


@pytest.mark.parametrize("fields", [{"packages": 5}, {"groups": 5}, {"time_zone": "Nowhere"}])
def test_a_policys_run_says_what_kept_it_from_its_work(pair: Pair, fields: dict[str, Any]) -> None:
    policy = pair.policy(pair.bad)
    pair.upgrade(pair.bad).delete()
    type(policy).objects.filter(pk=policy.pk).update(**fields)
    policy.refresh_from_db()
    assert policies.run_policy(policy).outcome.startswith("Refused: ")


def test_what_is_wrong_with_a_row_goes_with_it(pair: Pair) -> None:
    bad = pair.schedule(pair.bad)
    type(bad).objects.filter(pk=bad.pk).update(cron="99 * * * *")
    pair.reconcile()
    assert Problem.objects.exists()
    bad.delete()
    pair.reconcile()
    assert not Problem.objects.exists()


def test_a_notification_that_is_broken_keeps_nobody_else_from_being_told(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "deploy_manager.deployments.notifying.send", lambda to, *words: told.append(to)
    )
    for target in ("a", "b"):
        pair.bad.notifications.create(target=target, states=["lost"])
    pair.bad.notifications.filter(target="a").update(states=5)
    run = pair.lost(pair.bad)
    assert send_notifications(run.deployment_id) == 1
    assert told == ["b"]
    assert "TypeError" in pair.problems()["bad"]


def test_what_was_wrong_with_a_table_that_is_gone_is_forgotten(pair: Pair) -> None:
    Problem.objects.create(job="did more", kind="formerly", key=1, text="It was wrong.")
    Problem.objects.create(job="did more", kind="schedule", key=2**31, text="It was wrong.")
    pair.reconcile()
    assert not Problem.objects.exists()


def test_the_log_of_the_reconcile_does_nothing_to_a_terminal(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.waiting(pair.bad)
    Environment.objects.filter(pk=pair.bad.pk).update(name="bad\x1b[2J\x07", windows=["never"])
    pair.reconcile()
    assert "can't be read" in caplog.text
    assert not {"\x1b", "\x07"} & set(caplog.text)


def test_a_policy_of_an_unknown_time_zone_is_listed_with_its_last_time_and_so_are_the_others(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell goes on in the next line
    bad, good = pair.policy(pair.bad), pair.policy(pair.good)
    for policy in (bad, good):
        policy.runs.create(slot=timezone.now(), outcome=f"Of {policy}")
    type(bad).objects.filter(pk=bad.pk).update(time_zone="Mars/Base")
    for words in (("policies",), ("policies", "--json")):
        listed = call(*words)
        assert f"Of {good}" in listed
        assert (f"Of {bad}" if "--json" in words else "Paused. Changed since") in listed
    assert "no time zone" in call("policies", bad.name)


ZONE_COMMANDS = [
    ("overrides", "bad"),
    ("releases", "bad"),
    ("freeze", "bad", "--reason", "Sale", "--until", "2099-01-01 10:00"),
    ("recipe", "bad", "ping", "--no-wait", "--at", "2099-01-01 10:00"),
    ("recipe", "bad", "ping", "--no-wait", "--at", "2099-01-01 10:00+00:00"),
]


@pytest.mark.parametrize("command", ZONE_COMMANDS, ids=" ".join)
def test_commands_show_moments_where_the_time_zone_is_unknown_and_refuse_to_guess_one(
    pair: Pair, command: tuple[str, ...]
) -> None:
    pair.release(pair.bad)
    pair.bad.overrides.create(name="kit", version="1.0")
    Environment.objects.filter(pk=pair.bad.pk).update(time_zone="Europe/Nowhere")
    if command[-1].endswith("10:00"):
        with pytest.raises(CommandError, match=r"time zone of shop/bad cannot be .*Nowhere"):
            call(*command)
    else:
        assert "UTC" in call(*command)
