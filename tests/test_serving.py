"""Which release serves, since when, and which one a rollback goes to."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from deploy_manager.admin.deployments.forms import find_out_of_sync
from deploy_manager.admin.inventory.live_releases import describe_live_releases
from deploy_manager.deployments.choices import choose_release, converge
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Placement, Release, State
from deploy_manager.models.serving import serving_release, usual_release
from tests.commands import call, events
from tests.inventory import Inventory
from tests.parts.admin import write_shard
from tests.releases import PIPELINE, Switching

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


def activate(inventory: Inventory, release: Release, servers: Sequence[str] = ()) -> None:
    """Write the rows that a deployment leaves which activates a release."""
    now = timezone.now()
    deployment = Deployment.objects.create(
        environment=inventory.environment,
        recipe=PIPELINE,
        release=release,
        state=State.SUCCEEDED,
        started_at=now,
        finished_at=now,
    )
    held = write_shard(deployment)
    for placement in inventory.environment.placements.select_related("server"):
        if not servers or placement.server.name in servers:
            deployment.host_runs.create(
                shard=held,
                placement=placement,
                server_name=placement.server.name,
                state=State.SUCCEEDED,
                release_before=placement.active_release,
                was_switched=placement.active_release != release,
                started_at=now,
                finished_at=now,
            )
            placement.active_release, placement.activated_at = release, now
            placement.save()


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
