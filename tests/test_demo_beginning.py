"""However people left it, the demo begins without a question and takes nothing back."""

import pytest

from deploy_manager.deployments.run import run_shard
from deploy_manager.models import Environment, State
from deploy_manager.packages.pins import pins_of
from tests.overrides import HeldSite
from tests.parts.demo import demo_module

beginning = demo_module("beginning")

DEPLOY = ("deploy", "shop/production")
RELOAD = ("recipe", "shop/production", "reload", "--server", "one")


class Commands:
    """Notes the commands; each ends with 0, unless its first word is among those that fail."""

    def __init__(self, *fail: str) -> None:
        self.ran: list[tuple[str, ...]] = []
        self._fail = fail

    def __call__(self, *words: str) -> int:
        self.ran.append(words)
        return int(words[0] in self._fail)


def test_the_first_time_it_deploys(held: HeldSite) -> None:
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [DEPLOY]


def test_what_was_chosen_last_serves_again(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD]


def test_a_new_commit_is_deployed(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    held.pin("helper==1.0", "shopkit==1.0.2")
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [DEPLOY]


def test_nothing_is_taken_back(held: HeldSite, capsys: pytest.CaptureFixture[str]) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    held.is_vulnerable("1.0")
    held.pin("helper==1.0", "shopkit==1.0")
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD]
    assert "would take back shopkit 1.0.2 → 1.0 (PYSEC-2026-1)." in capsys.readouterr().out


def test_a_freeze_is_respected(held: HeldSite, capsys: pytest.CaptureFixture[str]) -> None:
    held.environment.freeze("holidays", "me@here")
    run = Commands()
    (why,) = beginning.begin(held.environment, run)
    assert "frozen" in why
    assert run.ran == []
    held.serve("helper==1.0", "shopkit==1.0")
    held.pin("helper==1.0", "shopkit==1.0.2")
    held.inventory.add_server("two")
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD]
    printed = capsys.readouterr().out
    assert "frozen" in printed
    assert "Nothing serves on two: " in printed


def test_a_server_that_was_added_becomes_like_the_others(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    held.inventory.add_server("two")
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD, ("converge", "shop/production", "two")]


def test_sites_that_do_not_start_are_deployed_anew(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    run = Commands("recipe")
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD, DEPLOY]
    held.environment.freeze("holidays", "me@here")
    run = Commands("recipe")
    assert beginning.begin(held.environment, run) == ["Some sites did not start."]
    assert run.ran == [RELOAD]


@pytest.mark.django_db(transaction=True)
def test_a_deployment_that_an_earlier_demo_left_is_cancelled_and_what_serves_is_listed(
    held: HeldSite,
) -> None:
    held.deploy()
    held.pin("helper==1.0", "shopkit==1.0.2")
    held.inventory.add_server("two")
    Environment.objects.update(strategy="waves", canary="1", pause=3600)
    held.environment.refresh_from_db()
    paused = held.request()
    run_shard(paused.shards.get().pk, lambda pk: None)
    assert not beginning.cancel_leftovers(held.environment)
    paused.refresh_from_db()
    assert (paused.state, paused.cancel_requested_by_name) == (State.CANCELLED, "the demo")
    assert [pin.version for pin in pins_of(held.environment)] == ["1.0", "1.0.2"]


def test_a_server_that_was_placed_twice_is_named_once(held: HeldSite) -> None:
    (placement,) = held.environment.placements.all()
    held.environment.placements.create(server=placement.server, own_deploy_path="/srv/again")
    held.serve("helper==1.0", "shopkit==1.0")
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD]


def test_a_repository_that_cannot_be_read_is_reported(held: HeldSite) -> None:
    held.pin("shopkit>1.0")
    run = Commands("deploy")
    (why,) = beginning.begin(held.environment, run)
    assert why.startswith("Nothing is deployed: ")
    held.serve("helper==1.0", "shopkit==1.0")
    run = Commands()
    assert beginning.begin(held.environment, run) == []
    assert run.ran == [RELOAD]
