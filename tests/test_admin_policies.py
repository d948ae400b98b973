"""Policies in the admin: written with words for mistakes, run by a button, their runs read."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from deploy_manager.models import PolicyRun, UpgradePolicy
from deploy_manager.upgrades.policies import AT_WORK
from tests.parts.admin import ObjectRights, make_user, url, visitor
from tests.parts.packages import make_environment
from tests.test_admin_lists import count_queries

pytestmark = pytest.mark.django_db(transaction=True)

CARES = ("add_upgradepolicy", "change_upgradepolicy", "view_upgradepolicy", "view_policyrun")
TURNS = ("add_policyenvironment", "change_policyenvironment", "view_policyenvironment")


@pytest.fixture
def policy() -> UpgradePolicy:
    """A policy for `shop/production`."""
    made = UpgradePolicy.objects.create(name="nightly", cron="0 2 * * *")
    made.turns.create(environment=make_environment("production", "one"))
    return made


def form(**fields: Any) -> dict[str, Any]:
    """What a browser sends for a new policy."""
    formsets = {
        f"{name}-{field}": number
        for name in ("turns", "ignored")
        for field, number in (("TOTAL_FORMS", 0), ("INITIAL_FORMS", 0))
    }
    return {
        "name": "weekly",
        "is_enabled": "on",
        "how_far": "patch",
        "packages": "",
        "groups": "",
        "cron": "0 3 * * sun",
        "time_zone": "Europe/Paris",
        "deadline": 60,
        "cooldown": 3,
        "soak": 10,
        "on_failure": "return",
        "most_at_once": 1,
        "hand_back": "none",
        **formsets,
        **fields,
    }


def text_of(client: Client, address: str) -> str:
    return str(client.get(address).content.decode())


def run_url(policy: UpgradePolicy) -> str:
    return url("upgradepolicy_run", policy.pk)


def person(*rights: str) -> Client:
    client = Client()
    client.force_login(make_user("ana", *rights))
    return client


@pytest.mark.database
def test_a_policy_is_written_with_its_environments_and_what_it_ignores() -> None:
    environment = make_environment("production", "one")
    rows = {
        "turns-TOTAL_FORMS": 1,
        "turns-0-environment": environment.pk,
        "turns-0-order": 2,
        "ignored-TOTAL_FORMS": 1,
        "ignored-0-package": "django",
        "ignored-0-reason": "Breaks the shop.",
        "ignored-0-until": "2026-12-31",
    }
    sent = form(packages='["django"]', groups='[["django", "channels"]]', **rows)
    answer = visitor("owner").post(url("upgradepolicy_add"), sent)
    assert answer.status_code == 302
    made = UpgradePolicy.objects.get()
    assert (made.packages, made.groups) == (["django"], [["django", "channels"]])
    assert made.turns.get().environment == environment
    assert made.ignored.get().reason == "Breaks the shop."


def test_empty_boxes_are_empty_lists() -> None:
    assert visitor("owner").post(url("upgradepolicy_add"), form()).status_code == 302
    made = UpgradePolicy.objects.get()
    assert (made.packages, made.groups) == ([], [])


def test_only_a_policy_without_environments_warns_that_it_upgrades_nothing() -> None:
    owner, warning = visitor("owner"), "This policy has no environments"
    added = owner.post(url("upgradepolicy_add"), form(), follow=True)
    assert warning in added.content.decode()
    policy = UpgradePolicy.objects.get()
    environment = make_environment("production", "one")
    first = {"turns-TOTAL_FORMS": 1, "turns-0-environment": environment.pk, "turns-0-order": 1}
    address = url("upgradepolicy_change", policy.pk)
    changed = owner.post(address, form(**first, **{"turns-0-policy": policy.pk}), follow=True)
    assert policy.turns.get().environment == environment
    assert warning not in changed.content.decode()


def test_groups_are_refused_with_an_example_of_groups() -> None:
    answer = visitor("owner").post(url("upgradepolicy_add"), form(groups='["django"]'))
    assert answer.context["adminform"].form.errors["groups"] == [
        'Enter a JSON list of groups, like [["django", "channels"]].'
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cron", "every night"),
        ("cron", "0 2 31 2 *"),
        ("time_zone", "Europe/Atlantis"),
        ("packages", "django"),
        ("packages", '["Not A Name"]'),
        ("packages", '{"django": 1}'),
        ("groups", '["django"]'),
        ("groups", '[["django", 1]]'),
        ("deadline", "0"),
        ("soak", "-1"),
        ("most_at_once", "0"),
    ],
)
def test_what_is_wrong_is_reported_at_its_field(field: str, value: str) -> None:
    answer = visitor("owner").post(url("upgradepolicy_add"), form(**{field: value}))
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    assert not UpgradePolicy.objects.exists()


def test_the_page_shows_the_next_three_times_and_the_last_run(policy: UpgradePolicy) -> None:
    policy.runs.create(slot=timezone.now(), outcome="Nothing to do: <b>really</b>.\nUnknown: much.")
    owner = visitor("owner")
    page = text_of(owner, url("upgradepolicy_change", policy.pk))
    times = re.search(r"Next times:.*?readonly\">(.*?)</div>", page, re.S)
    assert times is not None
    assert times[1].count(" 02:00 UTC") == 3
    listed = text_of(owner, url("upgradepolicy_changelist"))
    for text in (page, listed):
        assert "Nothing to do: &lt;b&gt;really&lt;/b&gt;." in text
    assert "shop/production" in listed


@pytest.mark.database
def test_the_button_writes_a_run_at_once(policy: UpgradePolicy) -> None:
    owner = visitor("owner")
    assert run_url(policy) in text_of(owner, url("upgradepolicy_change", policy.pk))
    assert "shop/production" in text_of(owner, run_url(policy))
    assert not PolicyRun.objects.exists()
    answer = owner.post(run_url(policy), follow=True)
    run = PolicyRun.objects.get()
    assert url("policyrun_change", run.pk) in answer.content.decode()
    assert "Requested a run." in LogEntry.objects.latest("pk").change_message
    assert "Waiting for a worker." in text_of(owner, url("policyrun_change", run.pk))
    PolicyRun.objects.update(outcome=AT_WORK)
    assert str(AT_WORK) in text_of(owner, url("policyrun_changelist"))


@pytest.mark.parametrize(
    ("rights", "status"),
    [
        ((*CARES, "upgrade_environment"), 302),
        ((*CARES, "view_environment"), 403),
        (CARES, 404),
        (("view_upgradepolicy", "upgrade_environment"), 403),
        (("upgrade_environment",), 403),
    ],
)
def test_only_who_may_change_it_and_deploy_all_of_it_runs_it(
    policy: UpgradePolicy, rights: tuple[str, ...], status: int
) -> None:
    client = person(*rights)
    assert client.post(run_url(policy)).status_code == status
    assert PolicyRun.objects.exists() == (status == 302)
    if status != 404:
        page = text_of(client, url("upgradepolicy_change", policy.pk))
        assert (run_url(policy) in page) == (status == 302)


def test_who_may_not_deploy_a_site_neither_adds_it_to_a_policy_nor_changes_one_that_has_it(
    policy: UpgradePolicy, settings: Any
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    mine = make_environment("mine", "two")
    user = make_user("ana", *CARES, *TURNS)
    ObjectRights.grant(user, "upgrade_environment", mine)
    client = Client()
    client.force_login(user)
    production = policy.turns.get().environment
    ObjectRights.grant(user, "view_environment", production)
    page = text_of(client, url("upgradepolicy_add"))
    assert "shop/mine" in page
    assert "shop/production" not in page
    added = {"turns-TOTAL_FORMS": 1, "turns-0-order": 1, "turns-0-environment": production.pk}
    assert client.post(url("upgradepolicy_add"), form(**added)).status_code == 200
    assert client.post(url("upgradepolicy_change", policy.pk), form()).status_code == 403
    assert UpgradePolicy.objects.get().name == "nightly"


def test_running_needs_a_token(policy: UpgradePolicy) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("ana", superuser=True))
    assert strict.post(run_url(policy)).status_code == 403


def test_a_policy_that_is_gone_is_not_found() -> None:
    assert visitor("owner").post(url("upgradepolicy_run", 7)).status_code == 404


def test_runs_are_read_only(policy: UpgradePolicy) -> None:
    run = policy.runs.create(slot=timezone.now(), outcome="Nothing to do.")
    owner = visitor("owner")
    assert owner.post(url("policyrun_change", run.pk), {"outcome": "x"}).status_code == 403
    assert owner.get(url("policyrun_add")).status_code == 403


@pytest.mark.database
@pytest.mark.parametrize("name", ["upgradepolicy", "policyrun"])
def test_a_longer_list_asks_no_more_questions(policy: UpgradePolicy, name: str) -> None:
    owner = visitor("owner")
    policy.runs.create(slot=timezone.now())
    before = count_queries(owner, url(f"{name}_changelist"))
    for number in range(5):
        other = UpgradePolicy.objects.create(name=f"other{number}", cron="0 2 * * *")
        other.turns.create(environment=make_environment(f"site{number}", "one"))
        other.runs.create(slot=timezone.now())
    assert count_queries(owner, url(f"{name}_changelist")) == before
