"""Waves, thresholds and the rollback: what a release does to servers that fail."""

import threading
import time
from dataclasses import replace

import pytest
from django.db import connection

from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, Environment, HostRun, Release, State, Step
from deploy_manager.recipes import Host, Site, get_recipe, registry
from tests.parts.kept import KeptSites
from tests.releases import Switching

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def four(switching: Switching, kept_sites: KeptSites) -> Switching:
    """Four servers that serve the release `old`."""

    def make() -> None:
        for name in ("two", "three", "four"):
            switching.inventory.add_server(name)
        assert switching.switch_to("old").state == State.SUCCEEDED

    kept_sites.begin("four-old", switching.inventory, make)
    return switching


def set_up(switching: Switching, **fields: object) -> None:
    Environment.objects.update(**fields)
    switching.inventory.environment.refresh_from_db()


def currents(switching: Switching) -> list[str]:
    return [switching.current(name) for name in ("one", "two", "three", "four")]


def states(deployment: Deployment) -> list[str]:
    return [run.state for run in deployment.host_runs.order_by("pk")]


WAVES = {"strategy": Environment.Strategy.WAVES, "canary": "1", "batch": "2"}


def test_a_canary_goes_first_then_batches(four: Switching) -> None:
    set_up(four, **WAVES)
    deployment = four.switch_to("new")
    assert deployment.state == State.SUCCEEDED
    assert currents(four) == ["new"] * 4
    assert [run.wave for run in deployment.host_runs.order_by("pk")] == [1, 2, 2, 3]
    proofs = Step.objects.filter(host_run__deployment=deployment, recipe="prove_it")
    switches = Step.objects.filter(host_run__deployment=deployment, phase="activate")
    for wave in (1, 2):
        proven = proofs.filter(host_run__wave=wave).order_by("finished_at").last()
        next_one = switches.filter(host_run__wave=wave + 1).order_by("started_at").first()
        assert proven is not None
        assert next_one is not None
        assert proven.finished_at <= next_one.started_at  # type: ignore[operator]


def test_a_canary_that_fails_keeps_the_release_from_the_others(four: Switching) -> None:
    set_up(four, **WAVES)
    four.break_server("one")
    deployment = four.switch_to("new")
    assert deployment.state == State.FAILED
    assert states(deployment) == [State.FAILED, *[State.SKIPPED] * 3]
    assert currents(four) == ["new", "old", "old", "old"]
    assert "failed on one" in HostRun.objects.filter(deployment=deployment).last().message  # type: ignore[union-attr]


def test_a_server_that_fails_goes_back_by_itself(four: Switching) -> None:
    set_up(four, **WAVES, rollback_on_failure=True)
    four.break_server("one")
    deployment = four.switch_to("new")
    assert currents(four) == ["old"] * 4
    assert deployment.host_runs.get(server_name="one").was_switched
    release = Release.objects.get(name="new")
    assert release.bad_since
    assert "failed on one" in release.bad_reason


def test_too_many_failures_bring_all_back_and_mark_the_release(four: Switching) -> None:
    set_up(four, **WAVES, rollback_on_failure=True)
    four.break_server("three")
    deployment = four.switch_to("new")
    assert currents(four) == ["old"] * 4
    assert deployment.release is not None
    deployment.release.refresh_from_db()
    assert deployment.release.bad_since
    assert "failed on three" in deployment.release.bad_reason
    assert deployment.host_runs.get(server_name="four").state == State.SKIPPED
    assert four.told("two").count("tidy") == 1  # of the first deployment only


def test_tolerated_failures_stop_no_other_server(four: Switching) -> None:
    set_up(four, **WAVES, max_failures="25%")
    four.break_server("two")
    deployment = four.switch_to("new")
    assert deployment.state == State.PARTLY_FAILED
    assert states(deployment) == [
        State.SUCCEEDED,
        State.FAILED,
        State.SUCCEEDED,
        State.SUCCEEDED,
    ]
    assert currents(four) == ["new"] * 4


def test_nothing_is_switched_where_too_few_prepared_well(four: Switching) -> None:
    four.break_server("four", "prepare")
    deployment = four.switch_to("new")
    assert deployment.state == State.FAILED
    assert currents(four) == ["old"] * 4


def test_the_rollback_is_not_taken_where_all_went_well(four: Switching) -> None:
    deployment = four.switch_to("new")
    rollback = Step.objects.filter(host_run__deployment=deployment, phase="roll_back")
    assert set(rollback.values_list("state", "message")) == {(State.SKIPPED, "Not needed.")}


def test_a_pause_lies_between_two_waves(four: Switching) -> None:
    set_up(four, **WAVES, pause=1)
    deployment = four.switch_to("new")
    assert deployment.state == State.SUCCEEDED
    switches = Step.objects.filter(host_run__deployment=deployment, phase="activate")
    first, second = (
        switches.filter(host_run__wave=wave).order_by("started_at").first() for wave in (1, 2)
    )
    assert (second.started_at - first.finished_at).total_seconds() >= 1  # type: ignore[union-attr, operator]


def test_what_was_seen_on_the_servers_stands_on_the_placements(four: Switching) -> None:
    four.switch_to("new")
    placement = four.inventory.environment.placements.get(server__name="two")
    assert placement.active_release is not None
    assert placement.active_release.name == "new"
    assert sorted(placement.complete_releases) == ["new", "old"]


VERIFIED = "It was verified, and serves the new release."


def cancelled_during(
    switching: Switching, name: str, servers: list[str], after: str = ""
) -> Deployment:
    """Run a deployment that is cancelled while these servers run a step, `after` another did."""
    recipe = get_recipe(name)
    reached = threading.Barrier(len(servers))
    done = Step.objects.filter(recipe=name, host_run__server_name=after, state=State.SUCCEEDED)

    def linger(host: Host, site: Site) -> None:
        recipe.function(host, site)
        if site.release != "new" or host.name not in servers:
            return
        if reached.wait(30) == 0:
            while after and not done.filter(host_run__deployment=deployment).exists():
                time.sleep(0.1)
            deployment.request_cancel("the boss")
        connection.close()
        host.run(["sleep", "60"])

    registry._recipes[name] = replace(recipe, function=linger)
    deployment = switching.request("new")
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


@pytest.mark.parametrize("servers", [["one", "two", "three", "four"], ["four"]], ids=len)
def test_cancelled_in_its_clean_up_a_server_that_was_verified_stays(
    four: Switching, servers: list[str]
) -> None:
    deployment = cancelled_during(four, "tidy_up", servers)
    assert deployment.state == State.CANCELLED
    assert currents(four) == ["new"] * 4
    host = deployment.host_runs.get(server_name="four")
    assert host.state == State.CANCELLED
    assert VERIFIED in host.message
    back = host.steps.filter(phase="roll_back")
    assert not back.filter(state=State.SUCCEEDED).exists()
    assert "The new release serves on one, two, three, four." in deployment.message
    placements = four.inventory.environment.placements
    assert set(placements.values_list("active_release__name", flat=True)) == {"new"}


def test_cancelled_in_its_proof_a_server_goes_back_and_the_summary_says_so(
    four: Switching,
) -> None:
    set_up(four, **WAVES)
    deployment = cancelled_during(four, "prove_it", ["two"], after="three")
    assert deployment.state == State.CANCELLED
    assert currents(four) == ["new", "old", "new", "old"]
    told = str(deployment.message).splitlines()
    assert "Reached: one, two, three, four." in told
    assert "The new release serves on one, three." in told
    assert "What served before serves again on two." in told
    assert "Not switched: four." in told
    assert {host.server_name: VERIFIED in host.message for host in deployment.host_runs.all()} == {
        "one": True,
        "two": False,
        "three": True,
        "four": False,
    }


def test_cancelled_before_any_switch_the_summary_says_that_none_was_made(four: Switching) -> None:
    deployment = cancelled_during(four, "make_it", ["two"])
    assert currents(four) == ["old"] * 4
    reached = ["one", "two", "three", "four"]
    started = deployment.host_runs.exclude(started_at=None).values_list("server_name", flat=True)
    names = ", ".join(name for name in reached if name in started)
    assert deployment.message == (
        f"Cancelled by the boss.\nReached: {names}.\nNo server was switched."
    )


def test_a_failed_clean_up_takes_back_no_server_that_was_verified(four: Switching) -> None:
    set_up(four, **WAVES, rollback_on_failure=True)
    four.break_server("two", "tidy")
    deployment = four.switch_to("new")
    assert currents(four) == ["new"] * 4
    assert deployment.state == State.PARTLY_FAILED
    host = deployment.host_runs.get(server_name="two")
    assert host.state == State.FAILED
    assert host.message.startswith("Tidy up: ")
    assert VERIFIED in host.message
    assert deployment.release is not None
    deployment.release.refresh_from_db()
    assert deployment.release.bad_since is None


def test_a_server_that_served_the_same_release_before_is_not_rolled_back_to_it(
    four: Switching,
) -> None:
    for name in ("one", "two", "three", "four"):
        four.break_server(name)
    assert four.switch_to("new").state == State.FAILED
    set_up(four, rollback_on_failure=True)
    deployment = four.switch_to("new")
    assert deployment.state == State.FAILED
    assert "Rolled back" not in deployment.message
    assert currents(four) == ["new"] * 4
