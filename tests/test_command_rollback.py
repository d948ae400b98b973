"""`manage.py rollback`, `converge` and `retry`: what they choose, and what they refuse."""

import re
from dataclasses import replace

import pytest

from deploy_manager.models import Deployment, Release, State
from deploy_manager.recipes import get_pipeline
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.parts.kept import KeptSites
from tests.releases import PIPELINE, Switching, put_pipeline

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]


@pytest.fixture
def shop(switching: Switching, kept_sites: KeptSites) -> Switching:
    """Releases r1, r2 and r3 on the servers one and two; r3 serves."""
    for name in ("rollback", "converge"):
        put_pipeline(replace(get_pipeline(PIPELINE), name=name, title=name.capitalize()))

    def make() -> None:
        switching.inventory.add_server("two")
        for number, name in enumerate(("r1", "r2", "r3"), 1):
            assert switching.switch_to(name).state == State.SUCCEEDED
            Release.objects.filter(name=name).update(commit=str(number) * 40)

    kept_sites.begin("r1-r2-r3", switching.inventory, make)
    return switching


def test_without_a_name_the_good_release_before_serves_again(shop: Switching) -> None:
    Release.objects.get(name="r2").mark_bad("It fell over.")
    printed = call("rollback", "production", "--reason", "r3 is slow")
    assert "release  r1" in printed
    assert [shop.current(server) for server in ("one", "two")] == ["r1", "r1"]
    deployment = Deployment.objects.get(recipe="rollback")
    assert (deployment.release, deployment.reason) == (
        Release.objects.get(name="r1"),
        "r3 is slow",
    )


@pytest.mark.parametrize("name", ["r2", "2222222"])
def test_a_release_is_meant_by_its_name_or_the_beginning_of_its_commit(
    shop: Switching, name: str
) -> None:
    call("rollback", "production", "--to", name)
    assert shop.current("one") == "r2"


def test_a_person_may_choose_a_bad_release_and_is_reported(shop: Switching) -> None:
    Release.objects.get(name="r2").mark_bad("It fell over.")
    assert "marked as bad: It fell over." in call("rollback", "production", "--to", "r2")
    assert shop.current("one") == "r2"


def test_a_person_may_choose_a_release_that_failed_its_check_and_is_reported(
    shop: Switching,
) -> None:
    for server in ("one", "two"):
        shop.break_server(server)
    assert shop.switch_to("r4").state == State.FAILED
    for server in ("one", "two"):
        shop.mend_server(server)
    shop.switch_to("r3")
    assert "failed its check: “Prove it” failed" in call("rollback", "production", "--to", "r4")
    assert shop.current("one") == "r4"


def test_a_release_that_is_not_whole_everywhere_is_refused(shop: Switching) -> None:
    shop.make_release("r4")
    told = call_and_be_refused("rollback", "production", "--to", "r4")
    assert "No release r4 is complete on every server of shop/production." in told
    assert "Available: r2, r1." in told
    assert not Deployment.objects.filter(recipe="rollback").exists()


def test_only_the_chosen_servers_need_to_have_the_release(shop: Switching) -> None:
    """A server is added, made like the others, and has nothing to go back to."""
    shop.inventory.add_server("three")
    call("converge", "production", "three")
    told = call_and_be_refused("rollback", "production")
    assert "No good release before this one is complete on every server of shop/production." in told
    assert "r2 is not complete on three. To bring it to every server, deploy its commit:" in told
    command = "manage.py rollback shop/production --to r2 --server one --server two"
    assert f"choose these: {command}" in told
    call(*command.split()[1:])
    assert [shop.current(server) for server in ("one", "two", "three")] == ["r2", "r2", "r3"]


def test_a_refusal_with_chosen_servers_names_these(shop: Switching) -> None:
    shop.inventory.add_server("three")
    call("converge", "production", "three")
    words = ["rollback", "production", "--server", "two", "--server", "three"]
    assert "before this one is complete on each of two, three." in call_and_be_refused(*words)
    told = call_and_be_refused(*words, "--to", "r1")
    assert "No release r1 is complete on each of two, three." in told
    assert "--to r1 --server two\n" in f"{told}\n"
    assert "has no server nine" in call_and_be_refused("rollback", "production", "--server", "nine")


def test_the_release_that_serves_is_refused_as_such(shop: Switching) -> None:
    for name in ("r3", "3333"):
        told = call_and_be_refused("rollback", "production", "--to", name)
        assert "r3 is the release that serves. Others to choose: r2, r1." in told
        assert "converge" not in told
    shop.inventory.add_server("three")
    told = call_and_be_refused("rollback", "production", "--to", "r3")
    assert "To bring it to three as well: manage.py converge shop/production three" in told


def test_a_server_that_serves_another_release_goes_back_to_that_of_the_others(
    shop: Switching,
) -> None:
    call("rollback", "production", "--to", "r1", "--server", "two")
    call("rollback", "production", "--to", "r3", "--server", "two")
    assert shop.current("two") == "r3"


def test_without_a_name_what_differs_from_what_serves_is_chosen(shop: Switching) -> None:
    shop.make_release("r4")
    Release.objects.filter(name="r4").update(commit="3" * 40)
    assert shop.switch_to("r4").state == State.SUCCEEDED
    assert "release  r2" in call("rollback", "production", "--dry-run")
    assert "release  r3" in call("rollback", "production", "--to", "r3", "--dry-run")


def test_forced_migrations_stand_on_the_row(shop: Switching) -> None:
    force = ["--force-migration", "shop.0002_prices", "--force-migration", "shop.0003_sizes"]
    call("rollback", "production", *force)
    deployment = Deployment.objects.get(recipe="rollback")
    assert deployment.forced_migrations == ["shop.0002_prices", "shop.0003_sizes"]


def test_what_is_no_migration_can_t_be_forced(shop: Switching) -> None:
    told = call_and_be_refused("rollback", "production", "--force-migration", "prices; true")
    assert "is not a migration: write one like shop.0005_prices" in told


def test_a_new_server_is_made_like_the_others(shop: Switching) -> None:
    shop.inventory.add_server("three")
    printed = call("converge", "production", "three", "--json")
    assert events(printed)[0]["release"] == "r3"
    assert shop.current("three") == "r3"
    assert [run.server_name for run in Deployment.objects.latest("pk").host_runs.all()] == ["three"]


def test_there_must_be_another_server_to_be_like(shop: Switching) -> None:
    told = call_and_be_refused("converge", "production", "one", "two")
    assert "No other server of shop/production serves a release yet" in told


def test_a_failure_ends_with_the_command_that_retries_it(shop: Switching) -> None:
    shop.break_server("two", "prepare")
    shop.inventory.environment.max_failures = "1"
    shop.inventory.environment.save()
    code, printed = call_and_fail("rollback", "production", "--to", "r1")
    number = Deployment.objects.latest("pk").pk
    assert code == 1
    assert f"`manage.py retry {number}` runs it again on two." in printed.splitlines()[-1]


@pytest.mark.parametrize("words", ["number", "production"])
def test_a_retry_goes_to_the_failed_server_only(shop: Switching, words: str) -> None:
    shop.break_server("two", "prepare")
    shop.inventory.environment.max_failures = "1"
    shop.inventory.environment.save()
    failed = shop.switch_to("r1")
    assert [shop.current(server) for server in ("one", "two")] == ["r1", "r3"]
    shop.mend_server("two", "prepare")
    call("retry", str(failed.pk) if words == "number" else words)
    again = Deployment.objects.latest("pk")
    assert shop.current("two") == "r1"
    assert (again.retry_of, again.release) == (failed, failed.release)
    assert [run.server_name for run in again.host_runs.all()] == ["two"]


def test_a_retry_says_which_of_the_servers_that_failed_has_left(shop: Switching) -> None:
    shop.break_server("one")
    shop.break_server("two")
    failed = shop.switch_to("r4")
    shop.mend_server("one")
    shop.inventory.environment.placements.get(server__name="two").delete()
    printed = call("retry", str(failed.pk))
    assert "left out, no longer in the environment: two\n" in printed
    assert (shop.current("one"), shop.current("two")) == ("r4", "r4")
    assert Deployment.objects.get(retry_of=failed).state == State.SUCCEEDED


def test_what_came_through_is_not_run_again(shop: Switching) -> None:
    assert "succeeded." in call_and_be_refused("retry")
    assert "There is no deployment #4711." in call_and_be_refused("retry", "4711")


def test_the_pause_between_waves_is_reported_and_waited_for(shop: Switching) -> None:
    environment = shop.inventory.environment
    environment.strategy, environment.pause = environment.Strategy.WAVES, 1
    environment.save()
    printed = call("rollback", "production")
    told = [line for line in printed.splitlines() if line.startswith(("Wave", "Pause", "  waves"))]
    assert told[:2] == ["  waves    2: one | two", "Wave 1 of 2: one"]
    assert re.fullmatch(r"Pause until [-0-9]+ [:0-9]+ UTC, before wave 2 of 2\.", told[2])
    assert told[3:] == ["Wave 2 of 2: two"]
    assert shop.current("two") == "r2"


def test_a_retry_can_be_looked_at_first(shop: Switching) -> None:
    shop.break_server("two", "prepare")
    failed = shop.switch_to("r1")
    printed = call("retry", str(failed.pk), "--dry-run")
    assert "[two]   $ " in printed
    assert "releases/r1" in printed
    assert shop.current("two") == "r3"
