"""Which release serves, since when, and which one a rollback goes to."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from deploy_manager.admin.deployments.forms import find_out_of_sync
from deploy_manager.admin.inventory.live_releases import describe_live_releases
from deploy_manager.deployments.choices import choose_release, converge
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Placement, Release, State
from deploy_manager.models.serving import serving_release, usual_release
from deploy_manager.recipes import Host, Phase, Pipeline, Site, add_pipeline, recipe
from tests.commands import call, events
from tests.inventory import Inventory
from tests.releases import Switching, activate

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("served", "usual"),
    [
        ([], None),
        ([(None, None), (None, NOON)], None),
        ([(1, LATER), (2, NOON), (2, NOON)], 2),
        ([(None, None), (None, None), (1, None)], 1),
        ([(1, LATER), (2, NOON)], 1),
        ([(2, NOON), (1, LATER)], 1),
        ([(1, None), (2, NOON)], 2),
        ([(1, NOON), (2, NOON)], 2),
        ([(2, None), (1, None)], 2),
    ],
)
def test_what_most_serve_is_the_same_in_any_order(
    served: list[tuple[int | None, datetime | None]], usual: int | None
) -> None:
    assert usual_release(served) == usual
    assert usual_release(reversed(served)) == usual


@pytest.fixture
def halves(switching: Switching) -> Inventory:
    """Two of four servers serve `new`, two were later brought back to `old`."""
    inventory = switching.inventory
    for name in ("two", "three", "four"):
        inventory.add_server(name)
    old, new = switching.make_release("old"), switching.make_release("new")
    placements = list(inventory.environment.placements.all())
    for placement, release, at in zip(
        placements, (new, new, old, old), (NOON, NOON, NOON, LATER), strict=True
    ):
        placement.active_release, placement.activated_at = release, at
        placement.save()
    return inventory


def test_all_who_ask_are_reported_the_same_release(halves: Inventory) -> None:
    environment = halves.environment
    old = Release.objects.get(name="old")
    assert serving_release(environment) == old
    assert find_out_of_sync(environment) == ["one", "two"]
    assert converge(environment, ["two", "three"]).release == old
    old.mark_bad("It fell over.")
    assert converge(environment, ["two", "three"]).release == Release.objects.get(name="new")


def test_releases_of_one_commit_are_told_apart_where_servers_are_mixed(
    halves: Inventory,
) -> None:
    told = str(describe_live_releases(halves.environment))
    assert "mixed" in told
    assert "new</code> on 2" in told
    assert "old</code> on 2" in told


def test_live_since_is_when_it_was_activated_there(switching: Switching) -> None:
    switching.switch_to("r1")
    first = Placement.objects.get().activated_at
    assert first is not None
    Release.objects.update(created_at=NOON - timedelta(days=400))
    switching.switch_to("r2")
    before = timezone.now()
    switching.switch_to("r1")
    again = Placement.objects.get().activated_at
    assert again is not None
    assert first < before <= again <= timezone.now()
    switching.switch_to("r1")
    assert Placement.objects.get().activated_at == again
    told = str(describe_live_releases(switching.inventory.environment))
    assert f"{timezone.localtime(again):%m/%d/%Y}" in told
    *releases, _summary = events(call("releases", "production", "--json"))
    newest, _old = sorted(releases, key=lambda each: each["serves_on"] == [])
    assert newest["serves_since"] == again.isoformat()


def test_who_goes_back_by_itself_serves_since_then(switching: Switching) -> None:
    switching.switch_to("r1")
    Environment.objects.update(rollback_on_failure=True)
    switching.inventory.environment.refresh_from_db()
    switching.break_server("one")
    before = timezone.now()
    assert switching.switch_to("r2").state == State.ROLLED_BACK
    placement = Placement.objects.get()
    assert placement.active_release is not None
    assert placement.active_release.name == "r1"
    assert placement.activated_at is not None
    assert placement.activated_at >= before


@pytest.mark.parametrize(
    ("switches", "next_one"),
    [
        ("r1 r2 r3", "r2"),
        ("r1 r2 r3 r2", "r1"),
        ("r1 r2 r3 r1", "r2"),
        ("r1 r2 r3 r1 r4", "r1"),
        ("r1 r2 r3 r1 r3", "r1"),
        ("r1 r2 r3 r2 r1 r4 r1", None),
        ("r1 r2 r1", None),
        ("r1 r2 r2", "r1"),
        ("r1 r2 bad:r3 r4", "r2"),
        ("r1 r2 unused:r3 r4", "r2"),
        ("r1 r2 one:r3 r4", "r2"),
        ("r3 r2 r1", "r2"),
    ],
)
def test_a_rollback_goes_to_the_good_one_that_served_before(
    switching: Switching, switches: str, next_one: str | None
) -> None:
    """They were made in the order of their names."""
    inventory = switching.inventory
    inventory.add_server("two")
    inventory.add_server("three")
    releases = {name: switching.make_release(name) for name in ("r1", "r2", "r3", "r4")}
    for word in switches.split():
        kind, _colon, name = word.rpartition(":")
        if kind != "unused":
            activate(inventory, releases[name], ["one"] if kind == "one" else [])
        if kind == "bad":
            releases[name].mark_bad("It fell over.")
    Placement.objects.update(complete_releases=list(releases))
    if next_one is None:
        with pytest.raises(RequestRefused, match="has no good release before this one"):
            choose_release(inventory.environment)
    else:
        assert choose_release(inventory.environment).name == next_one


def test_history_of_the_servers_themselves_leads_back_twice(switching: Switching) -> None:
    for name in ("r1", "r2", "r3"):
        switching.switch_to(name)
    for name in ("r2", "r1"):
        assert choose_release(switching.inventory.environment).name == name
        switching.switch_to(name)


@pytest.fixture
def troubled(switching: Switching) -> Switching:
    """r1 and r2 served; r1 again; r3 failed before it was activated, and r4 in its proof."""
    for name in ("r1", "r2", "r1"):
        assert switching.switch_to(name).state == State.SUCCEEDED
    switching.break_server("one", "prepare")
    assert switching.switch_to("r3").state == State.FAILED
    switching.mend_server("one", "prepare")
    for folder in ("releases/r3", "releases/r3/venv"):
        (switching.folder("one") / folder).mkdir(parents=True)
        (switching.folder("one") / folder / ".complete").touch()
    switching.break_server("one")
    assert switching.switch_to("r4").state == State.FAILED
    switching.mend_server("one")
    placement = Placement.objects.get()
    assert placement.active_release == Release.objects.get(name="r4")
    assert sorted(placement.complete_releases) == ["r1", "r2", "r3", "r4"]
    return switching


def test_a_rollback_passes_over_what_never_served_or_failed_its_check(troubled: Switching) -> None:
    environment = troubled.inventory.environment
    assert choose_release(environment).name == "r1"
    assert troubled.switch_to("r5").state == State.SUCCEEDED
    assert choose_release(environment).name == "r1"


def test_what_was_switched_to_before_its_check_failed_is_known_to_be_switched(
    troubled: Switching,
) -> None:
    assert Deployment.objects.get(release__name="r4").host_runs.get().was_switched


def test_rows_that_do_not_say_that_it_was_switched_lead_to_one_that_served(
    troubled: Switching,
) -> None:
    """Those of a deployment that failed its check were written so once."""
    Deployment.objects.get(release__name="r4").host_runs.update(was_switched=False)
    assert choose_release(troubled.inventory.environment).name == "r1"


def test_where_none_served_before_a_rollback_is_refused_with_what_each_lacks(
    troubled: Switching,
) -> None:
    for name in ("r1", "r2"):
        Release.objects.get(name=name).mark_bad("It fell over.")
    with pytest.raises(RequestRefused) as refused:
        choose_release(troubled.inventory.environment)
    told = str(refused.value)
    assert "has no good release before this one" in told
    assert "r3 (never served: “Make the release” failed)" in told
    assert "r1 (bad)" in told
    assert choose_release(troubled.inventory.environment, "r3").name == "r3"


def test_a_refused_rollback_names_the_servers_that_lack_the_release(switching: Switching) -> None:
    environment = switching.inventory.environment
    for name in ("r1", "r2"):
        switching.switch_to(name)
    switching.inventory.add_server("two")
    for named in ("", "r1"):
        with pytest.raises(RequestRefused) as refused:
            choose_release(environment, named)
        assert (
            "r1 is not complete on two. To bring it to every server, deploy its commit:"
            f" manage.py deploy shop/production --ref {'c' * 40}"
        ) in str(refused.value)


def test_a_release_that_passed_its_check_in_the_end_counts(troubled: Switching) -> None:
    assert troubled.switch_to("r4").state == State.SUCCEEDED
    troubled.switch_to("r5")
    assert choose_release(troubled.inventory.environment).name == "r4"


def test_a_switch_that_checks_nothing_proves_no_release_that_failed_its_check(
    troubled: Switching,
) -> None:
    environment = troubled.inventory.environment
    assert troubled.switch_to("r1").state == State.SUCCEEDED
    alone = troubled.inventory.request("activate")  # the newest: r4
    run(alone.pk)
    assert Placement.objects.get().active_release == Release.objects.get(name="r4")
    troubled.switch_to("r5")
    assert choose_release(environment).name == "r1"
    assert troubled.switch_to("r4").state == State.SUCCEEDED
    troubled.switch_to("r5")
    assert choose_release(environment).name == "r4"


def without_a_check(name: str, *recipes: str) -> None:
    """Add a pipeline of a project's own that switches, and verifies nothing."""
    phase = Phase("activate", "Activate", ("activate", *recipes), in_waves=True)
    add_pipeline(Pipeline(name, name, (Phase("prepare", "Prepare", ("make_it",)), phase)))


def switch_by(switching: Switching, pipeline: str, release: str) -> State:
    found = Release.objects.filter(name=release).first() or switching.make_release(release)
    deployment = request(
        switching.inventory.environment,
        pipeline,
        source="manage.py",
        requested_by_name="me@here",
        options=DeploymentOptions(release=found),
    )
    run(deployment.pk)
    deployment.refresh_from_db()
    return State(deployment.state)


def test_where_nothing_is_ever_checked_a_switch_is_the_proof(switching: Switching) -> None:
    without_a_check("quick")
    for name in ("r1", "r2", "r3"):
        assert switch_by(switching, "quick", name) == State.SUCCEEDED
    assert choose_release(switching.inventory.environment).name == "r2"


@pytest.mark.long
def test_what_failed_in_a_pipeline_without_a_check_is_made_good_by_the_same_recipe(
    switching: Switching,
) -> None:
    @recipe("Restart the workers")
    def restart_workers(host: Host, site: Site) -> None:
        host.run(f"test ! -e {site.deploy_path}/broken")

    without_a_check("quick", "restart_workers")
    without_a_check("quicker")
    assert switch_by(switching, "quick", "r1") == State.SUCCEEDED
    switching.break_server("one")
    assert switch_by(switching, "quick", "r2") == State.FAILED
    switching.mend_server("one")
    environment = switching.inventory.environment
    assert switch_by(switching, "quicker", "r2") == State.SUCCEEDED
    assert switch_by(switching, "quick", "r3") == State.SUCCEEDED
    assert choose_release(environment).name == "r1"
    assert switch_by(switching, "quick", "r2") == State.SUCCEEDED
    assert switch_by(switching, "quick", "r3") == State.SUCCEEDED
    assert choose_release(environment).name == "r2"


def test_a_release_that_failed_its_check_when_it_came_back_no_longer_counts(
    troubled: Switching,
) -> None:
    troubled.break_server("one")
    assert troubled.switch_to("r1").state == State.FAILED
    troubled.mend_server("one")
    troubled.switch_to("r5")
    with pytest.raises(RequestRefused, match="has no good release before this one"):
        choose_release(troubled.inventory.environment)


def test_a_failed_clean_up_makes_no_release_one_that_did_not_serve(switching: Switching) -> None:
    switching.switch_to("r1")
    switching.break_server("one", "tidy")
    assert switching.switch_to("r2").state == State.FAILED
    switching.mend_server("one", "tidy")
    switching.switch_to("r3")
    assert choose_release(switching.inventory.environment).name == "r2"


def test_the_list_shows_which_releases_never_served_and_which_failed_their_check(
    troubled: Switching,
) -> None:
    printed = call("releases", "production")
    assert "\n  never served: “Make the release” failed\n" in printed
    assert "\n  failed its check: “Prove it” failed\n" in printed
    *releases, _summary = events(call("releases", "production", "--json"))
    assert {each["name"]: each["unproven"] for each in releases} == {
        "r4": "failed its check: “Prove it” failed",
        "r3": "never served: “Make the release” failed",
        "r2": "",
        "r1": "",
    }
