"""What acts automatically acts with its owner's rights, asked each time; else it pauses, alone."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from deploy_manager.deployments.owners import confirm_by, take_over, why_paused
from deploy_manager.deployments.run import run
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import (
    Deployment,
    Environment,
    PolicyRun,
    Problem,
    Schedule,
    State,
    Upgrade,
    UpgradePolicy,
)
from deploy_manager.reconcile import reconcile
from deploy_manager.upgrades.policies import run_policy
from deploy_manager.upgrades.progress import _succeed
from tests.loop import Pair, ago
from tests.owners import owned, owner, person
from tests.parts.admin import RUNS, url
from tests.policies import Watched

pytestmark = pytest.mark.django_db(transaction=True)

LOSSES: dict[str, tuple[Callable[[User], object], str]] = {
    "revoked": (lambda user: user.user_permissions.clear(), "owner_may_not"),
    "deactivated": (
        lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
        "owner_missing",
    ),
    "deleted": (lambda user: user.delete(), "owner_missing"),
}
losing = pytest.mark.parametrize(("lose", "code"), LOSSES.values(), ids=LOSSES)


@pytest.fixture
def eve() -> User:
    return person("eve", *RUNS)


def again(schedule: Schedule) -> Schedule:
    Schedule.objects.filter(pk=schedule.pk).update(looked_at=ago(minutes=2))
    schedule.refresh_from_db()
    return schedule


@losing
def test_a_schedule_whose_owner_may_no_more_pauses_and_the_others_go_on(
    pair: Pair, eve: User, lose: Callable[[User], object], code: str
) -> None:
    theirs, ours = pair.schedule(pair.bad), pair.schedule(pair.good)
    take_over(theirs, eve)
    lose(eve)
    pair.reconcile()
    theirs.refresh_from_db()
    assert not theirs.deployments.exists()
    assert (theirs.paused.code, theirs.outcome.code) == (code, code)
    assert pair.problems()["bad"].startswith("Paused. eve, its owner,")
    assert ours.deployments.get().requested_by == owner()
    pair.reconcile()
    assert pair.problems(), "it stays as long as the schedule is paused"
    with pytest.raises(RequestRefused, match="stranger may not do this on shop/bad"):
        take_over(theirs, person("stranger"))
    take_over(theirs, owner())
    pair.reconcile()
    assert not pair.problems()
    assert not theirs.deployments.exists(), "the times that passed are left out"
    again(theirs)
    pair.reconcile()
    assert theirs.deployments.get().requested_by == owner()


@losing
def test_what_a_schedule_has_requested_does_not_begin_without_its_owner(
    pair: Pair, eve: User, lose: Callable[[User], object], code: str
) -> None:
    schedule = pair.schedule(pair.good)
    take_over(schedule, eve)
    (deployment,) = write_due_deployments()
    lose(eve)

    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert "may no longer run recipes on shop/good. No server was touched." in deployment.message


@losing
def test_a_policy_whose_owner_may_no_more_pauses_and_requests_nothing(
    watched: Watched, eve: User, lose: Callable[[User], object], code: str
) -> None:
    watched.is_vulnerable()
    take_over(watched.policy, eve)
    lose(eve)
    UpgradePolicy.objects.update(cron="* * * * *", looked_at=ago(minutes=2))

    reconcile(lambda pk: None, look=lambda pk: None)
    watched.policy.refresh_from_db()
    assert watched.policy.paused.code == code
    assert watched.last.outcome.code == code
    assert Problem.objects.get().text.code == code
    assert run_policy(watched.policy).outcome.code == code, "nor by hand"
    assert not Upgrade.objects.exists()


def test_no_user_is_left_and_no_policy_writes_an_upgrade(watched: Watched) -> None:
    watched.is_vulnerable()
    User.objects.all().delete()

    assert "has no active account any more" in run_policy(watched.policy).outcome
    assert not Upgrade.objects.exists()


def test_rows_without_an_owner_are_paused_until_somebody_takes_them_over(pair: Pair) -> None:
    schedule = pair.good.schedules.create(recipe="ping", cron="* * * * *", looked_at=ago(minutes=2))
    pair.reconcile()
    assert not Deployment.objects.exists()
    assert "It has no owner" in pair.problems()["good"]
    call_command("schedules", str(schedule.pk), owner=owner().username)
    pair.reconcile()
    assert not pair.problems()
    with pytest.raises(CommandError, match="There is no user 'nobody'"):
        call_command("schedules", str(schedule.pk), owner="nobody")
    person("stranger")
    with pytest.raises(CommandError, match="stranger may not do this"):
        call_command("schedules", str(schedule.pk), owner="stranger")


def test_an_edit_by_nobody_knows_whom_pauses_until_it_is_confirmed(pair: Pair, eve: User) -> None:
    schedule = pair.schedule(pair.good)
    Environment.objects.filter(name="good").update(reload_target="evil.wsgi")
    pair.reconcile()
    schedule.refresh_from_db()
    assert not schedule.deployments.exists()
    assert schedule.paused.code == "plan_changed"
    assert "— → evil.wsgi" in schedule.paused
    with pytest.raises(RequestRefused):
        confirm_by(schedule, person("stranger"))
    confirm_by(schedule, eve)
    again(schedule)
    pair.reconcile()
    assert schedule.deployments.get().requested_by == owner(), "the owner stays"


def test_a_policy_pauses_on_an_edit_too(watched: Watched) -> None:
    watched.is_vulnerable()
    Environment.objects.update(python="python3.99")

    assert "python3 → python3.99" in run_policy(watched.policy).outcome
    call_command("policies", "nightly", confirm=True)
    assert run_policy(watched.policy).outcome.startswith("Upgrade #")


def test_the_pins_that_an_upgrade_of_its_own_moves_pause_no_schedule(watched: Watched) -> None:
    schedule = owned(watched.environment.schedules.create(recipe="deploy", cron="* * * * *"))
    watched.is_vulnerable()
    assert watched.run().startswith("Upgrade #")

    stage = Upgrade.objects.get().stages.get()
    stage.state = "running"
    stage.save()
    assert _succeed(stage, "")  # type: ignore[arg-type]
    assert watched.environment.overrides.live().exists()

    schedule.refresh_from_db()
    assert not why_paused(schedule)


RIGHTS = ("change_environment", "view_environment")
SCHEDULES = ("add_schedule", "change_schedule", "delete_schedule", "view_schedule")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page_fields(client: Client, site: Environment) -> dict[str, object]:
    """What a browser sends that opened the page of an environment and pressed Save."""
    answer = client.get(url("environment_change", site.pk))
    assert answer.status_code == 200
    sent: dict[str, object] = {}
    forms = [answer.context["adminform"].form]
    for inline in answer.context["inline_admin_formsets"]:
        sent |= {
            f"{inline.formset.management_form.add_prefix(name)}": value
            for name, value in inline.formset.management_form.initial.items()
        }
        forms += inline.formset.forms
    for form in forms:
        for name in form.fields:
            value = form[name].value()
            if value is not None and value is not False:
                sent[form.add_prefix(name)] = "on" if value is True else value
    return sent


def new_schedule(**fields: object) -> dict[str, object]:
    return {
        "schedules-TOTAL_FORMS": 1,
        "schedules-0-recipe": "ping",
        "schedules-0-cron": "* * * * *",
        "schedules-0-time_zone": "UTC",
        "schedules-0-deadline": 60,
        "schedules-0-is_enabled": "on",
        **fields,
    }


def test_who_saves_a_schedule_owns_it_and_an_editor_without_the_right_can_t(pair: Pair) -> None:
    site = pair.good
    editor = client_of(person("editor", *RIGHTS, *SCHEDULES))
    address = url("environment_change", site.pk)
    answer = editor.post(address, page_fields(editor, site) | new_schedule())
    assert "you may not run ping here" in answer.content.decode()
    assert not Schedule.objects.exists()
    deployer = client_of(person("eve", *RUNS, *RIGHTS, *SCHEDULES))
    answer = deployer.post(address, page_fields(deployer, site) | new_schedule())
    assert answer.status_code == 302, answer.context["errors"]
    schedule = Schedule.objects.get()
    assert (schedule.owner_name, schedule.plan is not None) == ("eve", True)
    again(schedule)
    pair.reconcile()
    assert schedule.deployments.get().requested_by_name == str(schedule)


def test_an_edit_of_the_site_confirms_itself_only_by_somebody_with_the_right(pair: Pair) -> None:
    site, schedule = pair.good, pair.schedule(pair.good)
    address = url("environment_change", site.pk)
    deployer = client_of(person("eve", *RUNS, *RIGHTS))
    sent = page_fields(deployer, site) | {"health_path": "/up"}
    assert deployer.post(address, sent).status_code == 302
    pair.reconcile()
    assert schedule.deployments.count() == 1
    Deployment.objects.update(state="cancelled", finished_at=timezone.now())
    editor = client_of(person("editor", *RIGHTS))
    sent = page_fields(editor, site) | {"health_path": "/evil"}
    assert editor.post(address, sent).status_code == 302
    pair.reconcile()
    Schedule.objects.update(looked_at=ago(minutes=2))
    pair.reconcile()
    schedule.refresh_from_db()
    assert "/up → /evil" in schedule.paused
    assert "Changed by editor." in schedule.paused
    page = deployer.get(address).content.decode()
    assert "is paused:" in page
    shown = page.partition('name="shown" value="')[2].partition('"')[0]
    confirm = url("environment_schedule", site.pk, schedule.pk, "confirm")
    editor.post(confirm, {"shown": shown})
    schedule.refresh_from_db()
    assert schedule.paused
    Environment.objects.filter(pk=site.pk).update(health_path="/worse")
    deployer.post(confirm, {"shown": shown})
    schedule.refresh_from_db()
    assert schedule.paused, "that is not what was shown"
    page = deployer.get(address).content.decode()
    shown = page.partition('name="shown" value="')[2].partition('"')[0]
    deployer.post(confirm, {"shown": shown})
    schedule.refresh_from_db()
    assert not schedule.paused


def test_a_policy_is_deleted_by_those_only_who_may_upgrade_there(pair: Pair) -> None:
    policy = pair.policy(pair.good)
    rights = ("delete_upgradepolicy", "delete_policyenvironment", "view_environment")
    runs = PolicyRun.objects.count()
    janitor = client_of(person("janitor", *rights))
    address = url("upgradepolicy_delete", policy.pk)
    assert janitor.post(address, {"post": "yes"}).status_code == 403
    marked = {"action": "delete_selected", "_selected_action": [policy.pk], "post": "yes"}
    janitor.post(url("upgradepolicy_changelist"), marked)
    assert UpgradePolicy.objects.exists()
    User.objects.get(username="janitor").user_permissions.add(
        Permission.objects.get(codename="upgrade_environment")
    )
    assert janitor.post(address, {"post": "yes"}).status_code == 302
    assert not UpgradePolicy.objects.exists()
    assert runs == 0
