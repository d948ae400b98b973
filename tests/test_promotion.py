"""Production gets exactly what staging serves, and only what has passed: order, checks."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management import CommandError, call_command
from guardian.shortcuts import assign_perm

from deploy_manager import dispatch
from deploy_manager.deployments.approvals import decide
from deploy_manager.deployments.choices import choose_release, retry
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.promoting import release_to_promote
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import PlanChanged, RequestRefused
from deploy_manager.models import (
    CommitStatus,
    Deployment,
    Environment,
    Project,
    Release,
    State,
    Token,
    UpgradeStage,
)
from deploy_manager.upgrades.plan import plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.overrides import HeldSite
from tests.owners import person
from tests.returns import another, begin_what_waits, in_an_hour, serving
from tests.returns import options as upgrade_options

pytestmark = pytest.mark.django_db(transaction=True)

NEW = ("helper==1.0", "shopkit==1.0.2")


@pytest.fixture
def staging(held: HeldSite) -> Environment:
    """`shop/staging`, from which production is promoted; both serve the first commit."""
    held.deploy()
    made = another(held, "staging", "stage")
    Environment.objects.filter(pk=held.environment.pk).update(promotes_from=made)
    held.environment.refresh_from_db()
    return made


def deploy(environment: Environment, **options: Any) -> Deployment:
    made = request(
        environment,
        source="manage.py",
        requested_by_name="me@here",
        options=DeploymentOptions(**options),
    )
    run(made.pk)
    made.refresh_from_db()
    assert made.state == State.SUCCEEDED, made.message
    return made


def promote(held: HeldSite, **options: Any) -> Deployment:
    return held.request(promotes=release_to_promote(held.environment), **options)


def report(held: HeldSite, commit: str, state: str, context: str = "tests", **details: Any) -> bool:
    return dispatch.report_status(held.environment.project, commit, context, state, **details)


def printed(command: str, *words: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command(command, *words, "--json", stdout=out, stderr=io.StringIO())
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_it_brings_the_commit_and_the_lock_file_that_staging_serves(
    held: HeldSite, staging: Environment
) -> None:
    commit = held.pin(*NEW)
    on_staging = deploy(staging).release
    held.pin("helper==2.0", "shopkit==2.0")  # pushed meanwhile: not what was looked at on staging
    release = release_to_promote(held.environment)
    assert release == on_staging
    plan = make_plan(held.environment, promotes=release)
    assert plan.commit is not None
    assert plan.commit.hash == commit
    assert not plan.gate.why
    assert not plan.problems
    assert [(pin.name, pin.before, pin.after) for pin in plan.pins] == [("shopkit", "1.0", "1.0.2")]
    assert Release.objects.filter(environment=held.environment).count() == 1  # nothing is written
    made = held.see_through(promote(held, shown=plan.decided.save().digest))
    assert made.state == State.SUCCEEDED, made.message
    now = serving(held)
    assert (now.commit, now.lock, made.promotes) == (commit, release.lock, release)
    assert now.environment == held.environment
    assert "shopkit==1.0.2" in held.served()


def test_what_serves_on_staging_counts_not_what_its_branch_is_by_now(
    held: HeldSite, staging: Environment
) -> None:
    serves = release_to_promote(held.environment)
    held.pin(*NEW)
    assert release_to_promote(held.environment) == serves


def test_staging_that_changed_before_it_begins_ends_it_with_the_reason(
    held: HeldSite, staging: Environment
) -> None:
    Environment.objects.filter(pk=held.environment.pk).update(approvals_needed=1)
    held.environment.refresh_from_db()
    waiting = promote(held, waits=True)
    assert waiting.state == State.WAITING
    before = waiting.promotes
    held.pin(*NEW)
    now = deploy(staging).release
    decide(waiting, person("ann", "approve_environment"), approves=True)
    begin_what_waits()
    waiting.refresh_from_db()
    assert waiting.state == State.CANCELLED
    assert waiting.message.code == "promotion_changed"
    assert f"shop/staging serves {now.name} by now, not {before.name}" in waiting.message  # type: ignore[union-attr]
    assert serving(held) != now


def test_staging_that_changed_between_plan_and_request_is_refused(
    held: HeldSite, staging: Environment
) -> None:
    shown = release_to_promote(held.environment)
    held.pin(*NEW)
    deploy(staging)
    with pytest.raises(RequestRefused, match="look at what would change, and promote again"):
        held.request(promotes=shown)
    assert not Deployment.objects.filter(promotes=shown).exists()


def test_staging_whose_servers_differ_is_not_promoted(held: HeldSite, staging: Environment) -> None:
    placement = staging.placements.get()
    placement.pk, placement.server = None, held.inventory.add_server("two").server
    placement.own_deploy_path = str(held.inventory.folder / "stage two")
    placement.active_release = None
    placement.save()
    with pytest.raises(RequestRefused, match="but not on two: deploy it there first"):
        release_to_promote(held.environment)


def test_nor_is_what_is_marked_as_bad_there_or_under_way(
    held: HeldSite, staging: Environment
) -> None:
    held.pin(*NEW)
    under_way = request(staging, source="manage.py", requested_by_name="me@here")
    with pytest.raises(RequestRefused, match="shop/staging is busy"):
        release_to_promote(held.environment)
    run(under_way.pk)
    Release.objects.filter(environment=staging).update(
        bad_since=under_way.created_at, bad_reason="Prices are wrong."
    )
    with pytest.raises(RequestRefused, match="marked as bad on shop/staging: Prices are wrong"):
        release_to_promote(held.environment)


def test_code_that_jumps_the_queue_is_refused_and_writes_nothing(
    held: HeldSite, staging: Environment
) -> None:
    held.pin(*NEW)
    for options in ({}, {"waits": True}, {"ref": held.repository.head}):
        with pytest.raises(RequestRefused, match="takes its code from shop/staging only") as found:
            held.request(**options)
        assert found.value.message.code == "not_promoted"
    other = Environment.objects.create(
        project=held.environment.project, name="playground", deploy_path="/srv/x"
    )
    release = Release.objects.make(other, held.repository.head, "", serving(held).lock)
    with pytest.raises(RequestRefused, match="from shop/staging, not from shop/playground"):
        held.request(promotes=release)
    assert Deployment.objects.filter(environment=held.environment).count() == 1


def test_what_is_there_already_goes_back_and_is_completed_without_staging(
    held: HeldSite, staging: Environment
) -> None:
    first = serving(held)
    held.pin(*NEW)
    deploy(staging)
    promoted = held.see_through(promote(held))
    back = held.see_through(held.request("rollback", release=choose_release(held.environment)))
    assert (back.state, serving(held)) == (State.SUCCEEDED, first), back.message
    Deployment.objects.filter(pk=promoted.pk).update(state=State.FAILED)
    promoted.host_runs.update(state=State.FAILED)
    promoted.refresh_from_db()
    recipe, options = retry(promoted)
    again = held.request(recipe, **vars(options))
    assert again.state == State.QUEUED


def test_what_waited_and_never_began_is_no_way_past_the_gate(
    held: HeldSite, staging: Environment
) -> None:
    commit = held.pin(*NEW)
    deploy(staging)
    Environment.objects.filter(pk=held.environment.pk).update(required_statuses=["tests"])
    held.environment.refresh_from_db()
    waiting = promote(held, waits=True)
    assert (waiting.state, waiting.commit) == (State.WAITING, commit)
    cancel(waiting, "dan")
    waiting.refresh_from_db()
    recipe, options = retry(waiting)
    with pytest.raises(RequestRefused, match="nobody has reported"):
        held.request(recipe, **vars(options))
    again = held.request(recipe, **{**vars(options), "waits": True})
    assert again.state == State.WAITING
    begin_what_waits()
    again.refresh_from_db()
    assert again.state == State.WAITING
    report(held, commit, "success")
    assert held.see_through(again).state == State.SUCCEEDED


def test_staging_that_moved_on_keeps_what_never_began_from_being_retried(
    held: HeldSite, staging: Environment
) -> None:
    held.pin(*NEW)
    deploy(staging)
    waiting = promote(held, **in_an_hour())
    cancel(waiting, "dan")
    held.pin("helper==2.0", "shopkit==2.0")
    deploy(staging)
    waiting.refresh_from_db()
    recipe, options = retry(waiting)
    with pytest.raises(RequestRefused, match="by now, not"):
        held.request(recipe, **vars(options))


def test_what_waits_to_be_promoted_is_not_the_newest_release(
    held: HeldSite, staging: Environment
) -> None:
    before = serving(held)
    held.pin(*NEW)
    deploy(staging)
    promote(held, **in_an_hour())
    made = held.see_through(held.request("check"))
    assert made.state == State.SUCCEEDED, made.message
    assert made.release == before


def test_only_what_brings_code_promotes(held: HeldSite, staging: Environment) -> None:
    held.pin(*NEW)
    deploy(staging)
    with pytest.raises(RequestRefused, match="check brings no code"):
        held.request("check", promotes=release_to_promote(held.environment))
    assert Release.objects.filter(environment=held.environment).count() == 1


def test_break_glass_goes_past_the_order_with_a_reason(
    held: HeldSite, staging: Environment
) -> None:
    commit = held.pin(*NEW)
    with pytest.raises(RequestRefused, match="Break-glass needs a reason"):
        held.request(breaks_glass=True)
    made = held.deploy(breaks_glass=True, reason="Staging burns.")
    assert (made.state, serving(held).commit) == (State.SUCCEEDED, commit), made.message
    assert made.breaks_glass


def test_who_may_not_see_an_environment_takes_nothing_over_from_it(
    held: HeldSite, staging: Environment
) -> None:
    Environment.objects.update(promotes_from=None)
    held.environment.refresh_from_db()
    release = release_to_promote(held.environment, "staging")
    user = person("dan")
    assign_perm("deploy_environment", user, held.environment)
    with pytest.raises(PermissionDenied):
        request(
            held.environment,
            source="admin",
            requested_by_name="dan",
            user=user,
            options=DeploymentOptions(promotes=release),
        )


def test_nor_is_told_whether_it_is_there(held: HeldSite, staging: Environment) -> None:
    Environment.objects.update(promotes_from=None)
    held.environment.refresh_from_db()
    user = person("dan")
    assign_perm("deploy_environment", user, held.environment)
    told = set()
    for name in ("staging", "shop/staging", "nothing"):
        with pytest.raises(RequestRefused) as refused:
            release_to_promote(held.environment, name, user)
        told.add(str(refused.value).replace(name, "NAME"))
    assert told == {"shop has no other environment NAME to promote from."}
    assign_perm("view_environment", user, staging)
    assert release_to_promote(held.environment, "staging", User.objects.get(pk=user.pk))


# Checks of the CI


@pytest.fixture
def checked(held: HeldSite) -> HeldSite:
    """Production wants `tests` to be green."""
    Environment.objects.update(required_statuses=["tests"])
    held.environment.refresh_from_db()
    return held


def test_a_commit_that_is_not_green_is_refused_with_the_check(checked: HeldSite) -> None:
    commit = checked.repository.head
    with pytest.raises(RequestRefused, match=r"checks that nobody has reported of .*: tests"):
        checked.request(commit=commit)
    report(checked, commit, "pending")
    with pytest.raises(RequestRefused, match=r"waits for checks of commit .*: tests"):
        checked.request(commit=commit)
    report(checked, commit, "failure")
    with pytest.raises(RequestRefused, match=f"commit {commit[:8]} failed: tests") as found:
        checked.request(commit=commit)
    assert found.value.message.code == "not_green"
    report(checked, commit, "success")
    assert checked.deploy(commit=commit).state == State.SUCCEEDED


def test_a_branch_is_asked_for_its_checks_once_its_commit_is_known(checked: HeldSite) -> None:
    made = checked.deploy()
    assert made.state == State.FAILED
    assert "checks that nobody has reported" in made.message
    assert "No server was touched." in made.message
    report(checked, checked.repository.head, "success")
    assert checked.deploy().state == State.SUCCEEDED


def test_one_that_waits_begins_as_soon_as_the_last_check_is_green(checked: HeldSite) -> None:
    commit = checked.repository.head
    waiting = checked.request(commit=commit, waits=True)
    assert waiting.state == State.WAITING
    report(checked, commit, "success", "lint")
    report(checked, commit, "failure")
    begin_what_waits()
    waiting.refresh_from_db()
    assert (waiting.state, waiting.message.code) == (State.WAITING, "not_green")
    report(checked, commit, "success")
    waiting.refresh_from_db()
    assert waiting.state == State.QUEUED
    assert checked.see_through(waiting).state == State.SUCCEEDED


def test_a_check_that_turns_red_stops_what_has_not_begun(checked: HeldSite) -> None:
    commit = checked.repository.head
    report(checked, commit, "success")
    queued = checked.request(commit=commit)
    report(checked, commit, "failure")
    assert checked.see_through(queued).state == State.CANCELLED
    assert "No server was touched." in queued.message


def test_words_of_a_check_that_arrive_late_do_not_take_back_later_ones(checked: HeldSite) -> None:
    commit = checked.repository.head
    then, now = in_an_hour()["not_before"], in_an_hour()["not_before"]
    assert report(checked, commit, "success", at=now)
    assert not report(checked, commit, "pending", at=then)
    assert CommitStatus.objects.get().state == "success"


def test_checks_of_one_project_say_nothing_of_another(checked: HeldSite) -> None:
    other = Project.objects.create(name="other", repository=checked.environment.project.repository)
    dispatch.report_status(other, checked.repository.head, "tests", "success")
    with pytest.raises(RequestRefused):
        checked.request(commit=checked.repository.head)


def test_the_gate_holds_for_what_is_promoted_too(held: HeldSite, staging: Environment) -> None:
    Environment.objects.filter(pk=held.environment.pk).update(required_statuses=["tests"])
    held.environment.refresh_from_db()
    commit = held.pin(*NEW)
    deploy(staging)
    with pytest.raises(RequestRefused, match="nobody has reported"):
        promote(held)
    report(held, commit, "success")
    assert held.see_through(promote(held)).state == State.SUCCEEDED


# Whoever asked for it


def test_what_a_token_asked_for_does_not_begin_once_the_token_is_revoked(held: HeldSite) -> None:
    user = person("dan", "deploy_environment")
    token, _secret = Token.objects.issue(user, name="ci", scopes=["deploy"])
    details = {"source": "api", "requested_by_name": token.acts_as, "user": user}
    options = DeploymentOptions(token=token)
    queued = request(held.environment, options=options, **details)  # type: ignore[arg-type]
    options = DeploymentOptions(token=token, waits=True)
    waiting = request(held.environment, options=options, **details)  # type: ignore[arg-type]
    token.revoke("ann")
    assert held.see_through(queued).state == State.CANCELLED
    assert "was revoked" in queued.message
    begin_what_waits()
    waiting.refresh_from_db()
    assert (waiting.state, waiting.message.code) == (State.CANCELLED, "token_revoked")


# The command line, and the rows


def test_the_command_promotes_as_shown(held: HeldSite, staging: Environment) -> None:
    commit = held.pin(*NEW)
    deploy(staging)
    lines = printed("promote", "production", "--dry-run")
    plan = lines[0]
    assert (plan["event"], plan["promotes"], plan["commit"]) == ("plan", "shop/staging", commit)
    assert not plan["gate"]
    lines = printed("promote", "production", "--no-wait")
    made = Deployment.objects.get(pk=lines[-1]["deployment"])
    assert held.see_through(made).state == State.SUCCEEDED
    assert serving(held).commit == commit


def test_the_command_says_what_is_out_of_order(held: HeldSite, staging: Environment) -> None:
    with pytest.raises(CommandError, match="takes its code from shop/staging only"):
        call_command("deploy", "production", stdout=io.StringIO(), stderr=io.StringIO())
    with pytest.raises(CommandError, match="It is not said what shop/staging is promoted from"):
        call_command("promote", "staging", stdout=io.StringIO(), stderr=io.StringIO())
    with pytest.raises(CommandError, match="no other environment nowhere"):
        call_command(
            "promote", "production", "--from", "nowhere", stdout=io.StringIO(), stderr=io.StringIO()
        )


def test_code_goes_round_in_no_circle_and_comes_from_no_other_project(
    held: HeldSite, staging: Environment
) -> None:
    staging.promotes_from = held.environment
    with pytest.raises(ValidationError, match="round in a circle"):
        staging.full_clean()
    other = Project.objects.create(name="other", repository="/nowhere")
    staging.promotes_from = Environment.objects.create(
        project=other, name="staging", deploy_path="/srv/other"
    )
    with pytest.raises(ValidationError, match="of the same project"):
        staging.full_clean()


def test_what_decides_it_is_part_of_what_is_confirmed(checked: HeldSite) -> None:
    shown = make_plan(checked.environment).decided.save().digest
    Environment.objects.update(required_statuses=[])
    checked.environment.refresh_from_db()
    with pytest.raises(PlanChanged, match="required checks"):
        checked.request(shown=shown)


def test_an_upgrade_goes_on_to_no_further_environment_once_its_token_is_revoked(
    held: HeldSite,
) -> None:
    held.deploy()
    second = another(held, "second", "later")
    user = person("dan", "upgrade_environment")
    token, _secret = Token.objects.issue(user, name="ci", scopes=["upgrade"])
    plan = plan_upgrade((held.environment, second), upgrade_options())
    made = request_upgrade(
        plan, source="api", requested_by_name=token.acts_as, user=user, token=token
    )
    (first,) = advance_upgrade(made.pk)
    assert held.see_through(first).state == State.SUCCEEDED
    token.revoke("ann")
    UpgradeStage.objects.update(opens_at=None)
    (later,) = advance_upgrade(made.pk)
    held.see_through(later)
    begin_what_waits()
    later.refresh_from_db()
    assert (later.state, later.message.code) == (State.CANCELLED, "token_revoked")
    release = second.placements.get().active_release
    assert release is not None
    assert release.lock != serving(held).lock
