"""manage.py policies: what is there, when it runs next, and running it now."""

import pytest
from django.utils import timezone

from deploy_manager.models import Deployment, Upgrade, UpgradePolicy
from tests.commands import call, call_and_be_refused, events
from tests.policies import Watched

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.database
def test_policies_are_listed_with_their_next_time_and_their_last_outcome(watched: Watched) -> None:
    watched.policy.runs.create(slot=timezone.now(), outcome="Nothing to do:\n\x1b[31mred.")
    UpgradePolicy.objects.create(name="weekly", cron="0 3 * * sun", is_enabled=False)
    listed = call("policies")
    assert "nightly" in listed
    assert "shop/production" in listed
    assert " 02:00 UTC" in listed
    assert "Nothing to do:" in listed
    assert "\x1b" not in listed
    assert "weekly" in listed
    assert "off" in listed
    assert "weekly" not in call("policies", "nightly")


def test_programs_read_json(watched: Watched) -> None:
    told, _summary = events(call("policies", "--json"))
    assert told["event"] == "policy"
    assert told["environments"] == ["shop/production"]
    assert "T02:00:00" in told["next_time"]
    assert told["last_run"] is None


def test_running_one_begins_what_it_finds(watched: Watched) -> None:
    watched.is_vulnerable()
    told, _summary = events(call("policies", "nightly", "--run", "--json"))
    upgrade = Upgrade.objects.get()
    assert told["upgrades"] == [upgrade.pk]
    assert told["outcome"].startswith(f"Upgrade #{upgrade.pk}: shopkit 1.0 → 1.0.1")
    assert Deployment.objects.get().upgrade_stage.upgrade == upgrade


def test_running_one_that_finds_nothing_says_so(watched: Watched) -> None:
    assert "Nothing to do: " in call("policies", "nightly", "--run")


def test_a_name_that_none_has_is_refused_and_none_at_all_told(watched: Watched) -> None:
    assert "Policies: nightly." in call_and_be_refused("policies", "nihgtly")
    assert "Name the policy to run: nightly." in call_and_be_refused("policies", "--run")
    UpgradePolicy.objects.all().delete()
    assert "There is no policy yet" in call("policies")
