"""The pins of a deployed commit are listed with the end of its deployment, or not at all."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from deploy_manager.deployments.ending import cancel, finish
from deploy_manager.deployments.rollout import open_after_pause
from deploy_manager.deployments.run import run, run_shard
from deploy_manager.models import Deployment, Environment, LockFile, Shard, State
from deploy_manager.packages import pins as pins_module
from deploy_manager.packages.pins import pins_of, replace_pins
from deploy_manager.recipes import Host, Site, registry
from deploy_manager.reconcile import end_the_abandoned
from deploy_manager.requirements.pins import Pin
from deploy_manager.signals import deployment_ended
from tests.overrides import HeldSite

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]

OLD = {"helper": "1.0", "shopkit": "1.0"}
NEW = {"helper": "1.0", "shopkit": "1.1"}


def listed(held: HeldSite) -> dict[str, str]:
    environment = Environment.objects.get(pk=held.environment.pk)
    return {pin.name: pin.version for pin in pins_of(environment)}


def list_own(held: HeldSite) -> None:
    """Switch to pins of one's own, and import them."""
    environment = Environment.objects.get(pk=held.environment.pk)
    environment.pins_from = Environment.PinsFrom.ROWS
    environment.save(update_fields=["pins_from"])
    replace_pins(environment, [Pin("mine", "3.0")])


def after_the_switch(do: Callable[[], object]) -> None:
    """Do something in the middle of a deployment, once the server has switched."""
    known = registry._recipes["activate"]

    def activate(host: Host, site: Site) -> None:
        known.function(host, site)
        try:
            do()
        finally:
            connection.close()  # this thread's own

    registry._recipes["activate"] = replace(known, function=activate)


@pytest.fixture
def renewed(held: HeldSite) -> HeldSite:
    """The server serves the old pins; the repository has new ones."""
    assert held.deploy().state == State.SUCCEEDED
    assert listed(held) == OLD
    held.pin("helper==1.0", "shopkit==1.1")
    return held


def test_who_hears_of_the_end_finds_them_listed(renewed: HeldSite) -> None:
    heard = []

    def hear(deployment: Deployment, **details: object) -> None:
        heard.append(listed(renewed))

    deployment_ended.connect(hear)
    try:
        renewed.deploy()
    finally:
        deployment_ended.disconnect(hear)
    assert heard == [NEW]


def test_a_worker_that_dies_at_the_end_leaves_both_or_neither(
    renewed: HeldSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def die(*args: object) -> None:
        raise KilledError

    deployment = renewed.request()
    with monkeypatch.context() as patch:
        patch.setattr("deploy_manager.deployments.writer.Writer.__exit__", die)
        with pytest.raises(KilledError):
            run(deployment.pk)
    deployment.refresh_from_db()
    assert (deployment.state, listed(renewed)) == (State.SUCCEEDED, NEW)


def test_a_list_of_one_s_own_that_was_made_meanwhile_stays(renewed: HeldSite) -> None:
    after_the_switch(lambda: list_own(renewed))
    assert renewed.deploy().state == State.SUCCEEDED
    assert listed(renewed) == {"mine": "3.0"}


def test_who_switches_to_a_list_of_one_s_own_at_the_same_moment_has_it_in_the_end(
    renewed: HeldSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_it() -> None:
        try:
            list_own(renewed)
        finally:
            connection.close()

    listing = threading.Thread(target=list_it)

    def wait_for_it(environment: Environment, pins: list[Pin]) -> None:
        monkeypatch.setattr(pins_module, "replace_pins", replace_pins)
        listing.start()
        listing.join(0.5)
        assert listing.is_alive(), "it was listed in the middle of the end"
        replace_pins(environment, pins)

    monkeypatch.setattr(pins_module, "replace_pins", wait_for_it)
    assert renewed.deploy().state == State.SUCCEEDED
    listing.join(20)
    assert listed(renewed) == {"mine": "3.0"}


def paused_after_its_canary(renewed: HeldSite) -> Deployment:
    """A deployment to two servers, in the pause behind the first."""
    renewed.inventory.add_server("two")
    Environment.objects.update(strategy="waves", canary="1", pause=3600)
    renewed.environment.refresh_from_db()
    deployment = renewed.request()
    run_shard(deployment.shards.get().pk, lambda pk: None)
    return deployment


def test_what_is_cancelled_in_a_pause_lists_what_its_canary_serves(renewed: HeldSite) -> None:
    deployment = paused_after_its_canary(renewed)
    assert listed(renewed) == OLD
    assert cancel(deployment, "the boss")
    assert (deployment.state, listed(renewed)) == (State.CANCELLED, NEW)
    assert not cancel(deployment, "the boss")


def test_what_no_worker_takes_over_lists_what_was_seen_to_serve(renewed: HeldSite) -> None:
    deployment = paused_after_its_canary(renewed)
    soon = timezone.now() - timedelta(seconds=1)
    Deployment.objects.filter(pk=deployment.pk).update(opens_at=soon)
    (shard,) = open_after_pause(deployment.pk)
    assert Shard.objects.claim(shard, "here:1")
    Shard.objects.update(beat_at=timezone.now() - timedelta(minutes=10))
    assert end_the_abandoned(lambda pk: None) == 1
    deployment.refresh_from_db()
    # Where its work stopped is known: between two steps.
    assert (deployment.state, listed(renewed)) == (State.LOST, NEW)


def test_an_error_of_ours_after_the_switch_lists_what_serves(
    renewed: HeldSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("nobody expected it")

    after_the_switch(lambda: monkeypatch.setattr("deploy_manager.deployments.run._run_stage", fail))
    known = registry._recipes["clean_up"]
    assert known
    Environment.objects.update(migrate="after")
    renewed.environment.refresh_from_db()
    deployment = renewed.deploy()
    assert deployment.state in (State.FAILED, State.PARTLY_FAILED)
    assert "nobody expected it" in deployment.message
    assert listed(renewed) == NEW


def test_what_never_began_lists_nothing(renewed: HeldSite) -> None:
    release = renewed.environment.releases.get()
    list_own(renewed)
    Environment.objects.update(pins_from=Environment.PinsFrom.COMMIT)
    deployment = renewed.request("converge", release=release)
    assert cancel(deployment, "the boss")
    assert listed(renewed) == {"mine": "3.0"}


def test_a_release_that_serves_nowhere_lists_nothing(renewed: HeldSite) -> None:
    deployment = renewed.request()
    release = renewed.environment.releases.get()
    Deployment.objects.filter(pk=deployment.pk).update(release=release, begin_number=9)
    renewed.environment.placements.update(active_release=None)
    assert finish(deployment, State.FAILED, "No.")
    assert listed(renewed) == OLD


@pytest.mark.parametrize("text", ["no pin at all", "a==1\na==2\n"], ids=["unreadable", "twice"])
def test_pins_that_can_t_be_listed_keep_no_deployment_from_its_end(
    renewed: HeldSite, text: str
) -> None:
    after_the_switch(lambda: LockFile.objects.update(text=text))
    assert renewed.deploy().state == State.SUCCEEDED
    assert listed(renewed) == OLD


def test_who_lost_the_end_lists_nothing(renewed: HeldSite) -> None:
    stale = renewed.request()
    renewed.see_through(Deployment.objects.get(pk=stale.pk))
    replace_pins(renewed.environment, [Pin("mine", "3.0")])
    assert not finish(stale, State.FAILED, "No.")
    assert listed(renewed) == {"mine": "3.0"}
