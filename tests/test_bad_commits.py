"""A bad release is deployed by people only; an automatic source skips it and says so."""

from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from deploy_manager.cli.deployments.plan import describe
from deploy_manager.deployments import plan as planning
from deploy_manager.deployments import prepare as preparing
from deploy_manager.deployments.bad_releases import find_mark
from deploy_manager.deployments.contents import Contents
from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.run import run
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.exceptions import RequestRefused
from deploy_manager.git.mirror import Commit
from deploy_manager.models import Deployment, LockFile, Release, Schedule, State
from deploy_manager.packages.overrides import LaidOver
from deploy_manager.requirements.pins import Pin
from tests.inventory import claim
from tests.loop import Pair
from tests.owners import owner
from tests.parts.admin import url

pytestmark = pytest.mark.django_db(transaction=True)
BAD, OTHER = "b" * 40, "d" * 40
PINS, OTHER_PINS = (Pin("shop", "1.0"),), (Pin("shop", "2.0"),)


def contents(commit: str = BAD, pins: tuple[Pin, ...] = PINS) -> Contents:
    made = Commit(commit, "Sell more", "Ann", datetime(2026, 1, 1, tzinfo=UTC))
    return Contents(made, pins, LaidOver(pins))


def make(
    pair: Pair, found: Contents, *, is_bad: bool = False, came_through: bool = False
) -> Release:
    """Write a release, that it was marked as bad, or that it was deployed with success."""
    lock = LockFile.objects.of(found.digest, found.lock)
    release = Release.objects.make(pair.bad, found.commit.hash, found.commit.subject, lock)
    if came_through:
        deployment = pair.ask(pair.bad, "collect_static", release=release)
        deployment.end(State.SUCCEEDED)
    if is_bad:
        release.mark_bad("The till is broken.")
        release.refresh_from_db()
    return release


@pytest.fixture
def tip(monkeypatch: pytest.MonkeyPatch) -> list[Contents]:
    """What the branch leads to: the last of this list."""
    tips = [contents()]
    for module in (preparing, planning):
        monkeypatch.setattr(module, "find_contents", lambda site, ref: tips[-1])
    monkeypatch.setattr(preparing, "check_that_it_fits", lambda site, laid: None)
    monkeypatch.setattr(preparing, "make_archive", lambda site, commit: None)
    return tips


def run_nightly(pair: Pair, schedule: Schedule) -> Deployment:
    Schedule.objects.filter(pk=schedule.pk).update(looked_at=timezone.now() - timedelta(minutes=2))
    Deployment.objects.update(slot=None)
    (written,) = write_due_deployments()
    run(written.pk)
    written.refresh_from_db()
    return written


def test_a_schedule_leaves_a_commit_that_was_marked_and_goes_on_with_the_next(
    pair: Pair, tip: list[Contents], admin_client: Client
) -> None:
    make(pair, contents(), is_bad=True)
    schedule = pair.schedule(pair.bad, "deploy")
    skipped = run_nightly(pair, schedule)
    why = "Skipped: commit bbbbbbbb has been marked as bad on shop/bad since "
    assert skipped.state == State.CANCELLED
    assert skipped.message.startswith(why)
    assert skipped.message.endswith(": The till is broken. No server was touched.")
    assert {host.state for host in skipped.host_runs.all()} == {State.SKIPPED}
    schedule.refresh_from_db()
    assert schedule.outcome.startswith(why)
    assert (
        escape(schedule.outcome)
        in admin_client.get(url("environment_change", pair.bad.pk)).content.decode()
    )

    tip.append(contents(OTHER))
    taken = run_nightly(pair, schedule)
    assert taken.commit == OTHER
    schedule.refresh_from_db()
    assert schedule.outcome == ""


def test_people_may_deploy_it_and_are_reported(
    pair: Pair, tip: list[Contents], admin_client: Client
) -> None:
    make(pair, contents(), is_bad=True)
    plan = make_plan(pair.bad)
    assert plan.bad.startswith("commit bbbbbbbb has been marked as bad on shop/bad since ")
    assert str(plan.bad) in describe(plan, DeploymentOptions()).plain
    page = admin_client.get(url("environment_run", "deploy", on=pair.bad.pk))
    assert escape(plan.bad) in page.content.decode()
    held = claim(pair.ask(pair.bad, "deploy"))
    prepared = preparing.prepare(held).release
    assert prepared is not None
    assert prepared.commit == BAD


@pytest.mark.parametrize("source", ["schedule", "policy"])
def test_no_automatic_source_takes_a_release_that_was_marked_while_it_waited(
    pair: Pair, tip: list[Contents], source: str
) -> None:
    release = make(pair, contents(), is_bad=True)
    deployment = pair.ask(pair.bad, "upgrade", release=release)
    Deployment.objects.filter(pk=deployment.pk).update(source=source, requested_by=owner())
    with pytest.raises(RequestRefused, match="The till is broken"):
        preparing.prepare(claim(deployment))


def test_a_schedule_of_a_single_recipe_takes_the_newest_release_that_is_not_marked(
    pair: Pair,
) -> None:
    good = make(pair, contents(OTHER))
    make(pair, contents())
    make(pair, contents(), is_bad=True)
    deployment = pair.ask(pair.bad, "collect_static")
    Deployment.objects.filter(pk=deployment.pk).update(source="schedule", requested_by=owner())
    assert preparing.prepare(claim(deployment)).release == good


def is_marked(pair: Pair, commit: str = BAD, pins: tuple[Pin, ...] = PINS) -> bool:
    return find_mark(pair.bad, commit, contents(commit, pins).digest) is not None


def test_other_pins_do_not_mend_code_that_was_marked(pair: Pair) -> None:
    make(pair, contents(), is_bad=True)
    assert is_marked(pair, pins=OTHER_PINS)
    assert not is_marked(pair, OTHER)


def test_pins_that_were_marked_leave_the_code_that_came_through_without_them(pair: Pair) -> None:
    """As an upgrade that failed under the code that serves."""
    make(pair, contents(pins=PINS), came_through=True)
    make(pair, contents(pins=OTHER_PINS), is_bad=True)
    assert is_marked(pair, pins=OTHER_PINS)
    assert not is_marked(pair, pins=PINS)


def test_what_came_through_on_earlier_nights_is_marked_by_the_last(pair: Pair) -> None:
    make(pair, contents(), came_through=True)
    make(pair, contents(), came_through=True, is_bad=True)
    assert is_marked(pair)


def test_whoever_deploys_it_again_with_success_overrules_the_mark(pair: Pair) -> None:
    make(pair, contents(), is_bad=True)
    make(pair, contents(), came_through=True)
    assert not is_marked(pair)


def test_a_mark_on_one_site_is_none_on_another(pair: Pair) -> None:
    make(pair, contents(), is_bad=True)
    assert find_mark(pair.good, BAD, contents().digest) is None
