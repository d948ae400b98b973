"""Other people agree before what serves may change: who counts, and for how long."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.deployments import notifying
from deploy_manager.deployments.approvals import approvals_that_count, decide, why_not_approved
from deploy_manager.deployments.confirming import confirming_own_edits
from deploy_manager.deployments.owners import confirm_by, take_over
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run, run_shard
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Approval, Deployment, Environment, Schedule, State, UpgradeState
from deploy_manager.reconcile import reconcile
from tests.loop import Pair, ago
from tests.owners import owner, person
from tests.parts.admin import url
from tests.releases import PIPELINE, Switching
from tests.test_deployments import at_once

pytestmark = pytest.mark.django_db(transaction=True)

BOTH = ("approve_environment", "deploy_environment", "run_recipe_environment")


@pytest.fixture
def guarded(switching: Switching) -> Switching:
    """A site that asks for one approval."""
    need(switching, 1)
    return switching


def need(switching: Switching, number: int) -> None:
    Environment.objects.update(approvals_needed=number)
    switching.inventory.environment.refresh_from_db()


@pytest.fixture
def asker() -> User:
    return person("asker", *BOTH)


@pytest.fixture
def ann() -> User:
    return person("ann", "approve_environment")


@pytest.fixture
def ben() -> User:
    return person("ben", "approve_environment")


def ask(guarded: Switching, asker: User, **options: Any) -> Deployment:
    return request(
        guarded.inventory.environment,
        PIPELINE,
        source="admin",
        requested_by_name=str(asker),
        user=asker,
        options=DeploymentOptions(release=guarded.make_release("new"), **options),
    )


def reconciled() -> None:
    reconcile(lambda pk: run_shard(pk, lambda other: None), look=lambda pk: None)


def state_of(deployment: Deployment) -> str:
    deployment.refresh_from_db()
    return deployment.state


def test_it_waits_until_somebody_else_approves_it_and_then_runs(
    guarded: Switching, asker: User, ann: User
) -> None:
    deployment = ask(guarded, asker)
    assert deployment.message.startswith("Waits for approval: 0 of 1. It expires ")
    reconciled()
    assert state_of(deployment) == State.WAITING
    with pytest.raises(RequestRefused, match="another person has to approve it"):
        decide(deployment, asker, approves=True)
    with pytest.raises(PermissionDenied):
        decide(deployment, person("stranger", "deploy_environment"), approves=True)
    decide(deployment, ann, approves=True, reason="Looks well.")
    reconciled()
    assert state_of(deployment) == State.SUCCEEDED
    assert guarded.current("one") == "new"
    with pytest.raises(RequestRefused, match="does not wait for approval any more"):
        decide(deployment, ann, approves=True)


def test_two_of_two(guarded: Switching, asker: User, ann: User, ben: User) -> None:
    need(guarded, 2)
    deployment = ask(guarded, asker)
    decide(deployment, ann, approves=True)
    with pytest.raises(RequestRefused, match="decided about this already"):
        decide(deployment, ann, approves=True)
    reconciled()
    assert state_of(deployment) == State.WAITING
    assert deployment.message.startswith("Waits for approval: 1 of 2, by ann. It expires ")
    decide(deployment, ben, approves=True)
    reconciled()
    assert state_of(deployment) == State.SUCCEEDED


def test_denied_it_ends_and_says_by_whom_and_why(
    guarded: Switching, asker: User, ann: User, ben: User
) -> None:
    deployment = ask(guarded, asker)
    decide(deployment, ann, approves=False, reason="Not on a Friday.")
    assert state_of(deployment) == State.CANCELLED
    assert (deployment.message, deployment.message.code) == (
        "Denied by ann: Not on a Friday.",
        "denied",
    )
    with pytest.raises(RequestRefused):
        decide(deployment, ben, approves=True)
    reconciled()
    assert guarded.told("one") == []


LOSSES: dict[str, Callable[[User], object]] = {
    "revoked": lambda user: user.user_permissions.clear(),
    "deactivated": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "deleted": lambda user: user.delete(),
}
losing = pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)


@losing
def test_an_approval_counts_as_long_as_its_author_may_approve(
    guarded: Switching, asker: User, ann: User, ben: User, lose: Callable[[User], object]
) -> None:
    deployment = ask(guarded, asker)
    decide(deployment, ann, approves=True)
    assert not why_not_approved(deployment)
    lose(ann)
    reconciled()
    assert state_of(deployment) == State.WAITING
    assert deployment.message.startswith("Waits for approval: 0 of 1.")
    decide(deployment, ben, approves=True)
    reconciled()
    assert state_of(deployment) == State.SUCCEEDED


@losing
def test_one_that_was_queued_already_goes_back_to_wait(
    guarded: Switching, asker: User, ann: User, lose: Callable[[User], object]
) -> None:
    deployment = ask(guarded, asker)
    decide(deployment, ann, approves=True)
    reconcile(lambda pk: None, look=lambda pk: None)
    assert state_of(deployment) == State.QUEUED
    lose(ann)
    assert not run_shard(deployment.shards.get().pk, lambda pk: None)
    assert state_of(deployment) == State.WAITING
    assert guarded.told("one") == []


def test_it_expires_as_denied(guarded: Switching, asker: User, ann: User) -> None:
    deployment = ask(guarded, asker)
    assert deployment.approve_by is not None
    left = deployment.approve_by - timezone.now()
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    Deployment.objects.update(approve_by=ago(seconds=1))
    with pytest.raises(RequestRefused, match="time to approve it is over"):
        decide(deployment, ann, approves=True)
    assert not Approval.objects.exists()
    reconciled()
    assert state_of(deployment) == State.CANCELLED
    assert deployment.message.code == "approval_expired"


def test_approved_in_time_it_may_run_much_later(guarded: Switching, asker: User, ann: User) -> None:
    later = timezone.now() + timedelta(days=3)
    deployment = ask(guarded, asker, not_before=later)
    decide(deployment, ann, approves=True)
    Deployment.objects.update(approve_by=ago(seconds=1))
    reconciled()
    assert state_of(deployment) == State.WAITING
    assert deployment.message == "Waits for its time."
    Deployment.objects.update(not_before=timezone.now())
    reconciled()
    assert state_of(deployment) == State.SUCCEEDED


def test_a_changed_plan_can_t_be_approved_and_does_not_run_if_it_was(
    guarded: Switching, asker: User, ann: User
) -> None:
    deployment = ask(guarded, asker)
    decide(deployment, ann, approves=True)
    Environment.objects.update(reload_method="command", reload_target="evil")
    with pytest.raises(RequestRefused, match="none → command"):
        decide(deployment, person("ben", "approve_environment"), approves=True)
    reconciled()
    assert state_of(deployment) == State.FAILED
    assert deployment.message.code == "plan_changed"
    assert guarded.told("one") == []


def test_an_approval_is_of_exactly_what_was_to_be_sent(
    guarded: Switching, asker: User, ann: User
) -> None:
    deployment = ask(guarded, asker)
    decide(deployment, ann, approves=True)
    Deployment.objects.update(release=guarded.make_release("another"), commit="f" * 40)
    deployment.refresh_from_db()
    assert approvals_that_count(deployment) == []
    reconciled()
    assert state_of(deployment) == State.WAITING
    with pytest.raises(RequestRefused, match="has changed since it was shown"):
        decide(deployment, ann, approves=True, shown="0" * 64)


def test_fewer_are_not_enough_because_an_editor_asks_for_fewer(
    guarded: Switching, asker: User
) -> None:
    deployment = ask(guarded, asker)
    Environment.objects.update(approvals_needed=0)
    reconciled()
    assert state_of(deployment) == State.WAITING


def test_the_owner_of_a_schedule_approves_nothing_that_it_asks_for(pair: Pair) -> None:
    Environment.objects.filter(name="good").update(approvals_needed=1)
    pair.good.refresh_from_db()
    schedule = pair.schedule(pair.good, "collect_static")
    take_over(schedule, eve := person("eve", *BOTH))
    pair.reconcile()
    deployment = schedule.deployments.get()
    assert (deployment.state, deployment.message.code) == (State.WAITING, "waits_for_approval")
    with pytest.raises(RequestRefused, match="own the schedule or policy that did"):
        decide(deployment, eve, approves=True)
    decide(deployment, owner(), approves=True)
    pair.reconcile()
    assert state_of(deployment) == State.QUEUED


def test_nobody_approves_what_they_changed_under_the_schedule_of_somebody_else(
    pair: Pair,
) -> None:
    Environment.objects.filter(pk=pair.good.pk).update(approvals_needed=1)
    pair.good.refresh_from_db()
    schedule = pair.schedule(pair.good, "collect_static")
    eve = person("eve", *BOTH, "change_environment")
    with confirming_own_edits(pair.good, eve):
        Environment.objects.filter(pk=pair.good.pk).update(smoke_command="evil")
    pair.reconcile()
    schedule.refresh_from_db()
    assert schedule.paused.codes == ["plan_changed"]
    assert not schedule.deployments.exists()

    confirm_by(schedule, eve)
    assert schedule.owner == eve
    Schedule.objects.filter(pk=schedule.pk).update(looked_at=ago(minutes=2))
    pair.reconcile()
    with pytest.raises(RequestRefused, match="own the schedule or policy that did"):
        decide(schedule.deployments.get(), eve, approves=True)


def test_a_stage_of_an_upgrade_waits_for_approval_there(pair: Pair, ann: User) -> None:
    Environment.objects.filter(name="good").update(approvals_needed=1)
    upgrade = pair.upgrade(pair.good)
    pair.reconcile()
    stage = upgrade.stages.get()
    assert stage.state == UpgradeState.WAITING
    assert stage.message.startswith("Waits for approval: 0 of 1.")
    assert stage.deployment is not None
    decide(stage.deployment, ann, approves=True)
    pair.reconcile()
    stage.refresh_from_db()
    assert stage.state == UpgradeState.RUNNING


def test_an_upgrade_goes_back_without_approval(pair: Pair) -> None:
    upgrade = pair.upgrade(pair.good)
    pair.bring(upgrade.stages.get())
    Environment.objects.filter(name="good").update(approvals_needed=1)
    upgrade.stages.update(state=UpgradeState.RETURNING)
    pair.reconcile()
    back = upgrade.stages.get().returned_by
    assert back is not None
    assert (back.state, back.approvals_needed) == (State.QUEUED, 0)


def test_a_denied_stage_ends_its_upgrade(pair: Pair, ann: User) -> None:
    Environment.objects.filter(name="good").update(approvals_needed=1)
    upgrade = pair.upgrade(pair.good)
    pair.reconcile()
    waiting = upgrade.stages.get().deployment
    assert waiting is not None
    decide(waiting, ann, approves=False)
    pair.reconcile()
    upgrade.refresh_from_db()
    assert not upgrade.is_live
    assert "Denied by ann." in upgrade.message


@pytest.mark.database
def test_of_an_approval_and_a_denial_at_once_the_database_lets_the_last_word_be_the_denial(
    guarded: Switching, asker: User, ann: User, ben: User
) -> None:
    deployment = ask(guarded, asker)
    users = [ann, ben]

    def act(number: int) -> str:
        try:
            return decide(deployment, users[number % 2], approves=number % 2 == 0).decision
        except RequestRefused as error:
            return error.code

    answers = at_once(act)
    assert state_of(deployment) == State.CANCELLED
    assert answers.count("denied") == 1
    assert answers.count("approved") <= 1
    assert Approval.objects.filter(decision="denied").count() == 1


@pytest.mark.database
def test_one_person_who_approves_several_times_at_once_counts_once(
    guarded: Switching, asker: User, ann: User
) -> None:
    need(guarded, 2)
    deployment = ask(guarded, asker)

    def act(_number: int) -> bool:
        try:
            decide(deployment, ann, approves=True)
        except RequestRefused:
            return False
        return True

    assert sum(at_once(act)) == 1
    assert len(approvals_that_count(deployment)) == 1


def test_break_glass_needs_a_reason_and_is_told_everybody(
    guarded: Switching, asker: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequestRefused, match="Break-glass needs a reason"):
        ask(guarded, asker, breaks_glass=True, reason=" ")
    guarded.inventory.environment.releases.all().delete()
    deployment = ask(guarded, asker, breaks_glass=True, reason="The shop is down.")
    assert (deployment.state, deployment.breaks_glass) == (State.QUEUED, True)
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(notifying, "send", lambda target, *words: told.append(words))
    guarded.inventory.environment.notifications.create(target="chat")
    assert notifying.send_request_notifications(deployment.pk) == 1
    ((title, text),) = told
    assert "BREAK-GLASS" in title
    assert "The shop is down." in text
    run(deployment.pk)
    assert state_of(deployment) == State.SUCCEEDED
    client = Client()
    client.force_login(owner())
    page = client.get(url("deployment_change", deployment.pk)).content.decode()
    assert "Break-glass:" in page
    assert "The shop is down." in page
    found = client.get(url("deployment_changelist"), {"approval": "glass"}).content.decode()
    assert f"#{deployment.pk} " in found


def test_one_that_waits_may_be_let_through_by_who_may_deploy_with_a_reason(
    guarded: Switching, asker: User, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def send(task: str, *_keys: object, **_options: object) -> str:
        told.append(task)
        return ""

    monkeypatch.setattr(dispatch, "send", send)
    guarded.inventory.environment.notifications.create(target="chat")
    deployment = ask(guarded, asker)
    told.clear()
    approve = url("deployment_approve", deployment.pk)
    reason = {"_break_glass": "1", "reason": "The shop is down."}
    assert client_of(ann).post(approve, reason).status_code == 403, "she may approve only"
    client_of(asker).post(approve, {"_break_glass": "1", "reason": " "})
    assert state_of(deployment) == State.WAITING
    assert told == []
    client_of(asker).post(approve, reason)
    assert state_of(deployment) == State.QUEUED
    assert (deployment.breaks_glass, deployment.approvals.get().decision) == (True, "glass")
    assert told == ["notify_request", "run_shard"]
    page = client_of(asker).get(url("deployment_change", deployment.pk)).content.decode()
    assert "Break-glass:" in page
    assert "asker: let it run without approval (break-glass)" in page
    assert "The shop is down." in page
    with pytest.raises(CommandError, match="does not wait for approval any more"):
        call_command("approve", str(deployment.pk), break_glass=True, reason="Again")


def test_a_changed_plan_goes_by_no_break_glass(
    guarded: Switching, asker: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def send(task: str, *_keys: object, **_options: object) -> str:
        told.append(task)
        return ""

    deployment = ask(guarded, asker)
    Environment.objects.update(smoke_command="evil")
    monkeypatch.setattr(dispatch, "send", send)
    with pytest.raises(RequestRefused, match="Changed since it was confirmed"):
        dispatch.break_glass(deployment, by="ann", reason="The shop is down.")
    deployment.refresh_from_db()
    assert (deployment.state, deployment.breaks_glass, told) == (State.WAITING, False, [])


def test_what_leaves_what_serves_as_it_is_needs_none(guarded: Switching, asker: User) -> None:
    site = guarded.inventory.environment
    asked = request(site, "ping", source="admin", requested_by_name="asker", user=asker)
    assert (asked.state, asked.approvals_needed) == (State.QUEUED, 0)


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_page_shows_who_has_approved_and_its_buttons_decide(
    guarded: Switching, asker: User, ann: User, ben: User
) -> None:
    need(guarded, 2)
    deployment = ask(guarded, asker)
    address = url("deployment_change", deployment.pk)
    page = client_of(asker).get(address).content.decode()
    assert "another person has to approve it" in page
    assert "_approve" not in page
    theirs = client_of(ann)
    page = theirs.get(address).content.decode()
    assert "Approvals: 0 of 2" in page
    shown = page.partition('name="shown" value="')[2].partition('"')[0]
    approve = url("deployment_approve", deployment.pk)
    assert client_of(person("nosy", "view_environment")).post(approve).status_code == 403
    theirs.post(approve, {"_approve": "1", "shown": shown, "reason": "Well."})
    page = theirs.get(address).content.decode()
    assert "Approvals: 1 of 2" in page
    assert "ann: approved" in page
    waiting = client_of(ben).get(url("deployment_changelist"), {"approval": "waiting"})
    assert f"#{deployment.pk} " in waiting.content.decode()
    Environment.objects.update(python="python3.99")
    page = client_of(ben).get(address).content.decode()
    assert "python3 → python3.99" in page
    assert "_approve" not in page
    client_of(ben).post(approve, {"_deny": "1", "shown": shown})
    assert state_of(deployment) == State.CANCELLED


def test_only_who_may_approve_changes_how_many_are_needed(guarded: Switching) -> None:
    site = guarded.inventory.environment
    address = url("environment_change", site.pk)
    rights = ("change_environment", "view_environment", "deploy_environment")
    editor = client_of(person("editor", *rights)).get(address).content.decode()
    boss = client_of(person("boss", *rights, "approve_environment")).get(address).content.decode()
    assert 'name="approvals_needed"' not in editor
    assert 'name="approvals_needed"' in boss


def test_on_a_command_line_a_user_of_the_site_proves_to_be_that_one(
    guarded: Switching, asker: User, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann.set_password("well-kept")
    ann.save()
    deployment = ask(guarded, asker)
    out = io.StringIO()
    call_command("approve", stdout=out)
    assert "Waits for approval: 0 of 1." in " ".join(out.getvalue().split())
    with pytest.raises(CommandError, match="Say who decides"):
        call_command("approve", str(deployment.pk))
    how: dict[str, Any] = {"username": "ann", "password_stdin": True}
    monkeypatch.setattr("sys.stdin", io.StringIO("guessed\n"))
    with pytest.raises(CommandError, match="not the password"):
        call_command("approve", str(deployment.pk), **how)
    monkeypatch.setattr("sys.stdin", io.StringIO("well-kept\n"))
    out = io.StringIO()
    call_command("approve", str(deployment.pk), **how, json=True, stdout=out)
    assert '"given": ["ann"]' in out.getvalue()
    assert "well-kept" not in out.getvalue()
    assert state_of(deployment) != State.CANCELLED


def test_the_engine_begins_what_has_all_its_approvals_at_once(
    guarded: Switching, asker: User, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(dispatch, "wake_for_shard", woken.append)
    deployment = ask(guarded, asker)
    dispatch.decide(deployment, ann, approves=True)
    assert woken == [deployment.shards.get().pk]
