"""An upgrade survives the next deployment: its pins hold until the repository has caught up."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from deploy_manager.deployments.choices import converge, retry
from deploy_manager.deployments.plan import make_plan
from deploy_manager.deployments.run import run
from deploy_manager.deployments.scheduling import write_due_deployments
from deploy_manager.exceptions import PinError, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import (
    Deployment,
    Environment,
    Override,
    Release,
    Schedule,
    State,
    UpgradeState,
)
from deploy_manager.packages.overrides import end_overtaken, let_go
from deploy_manager.packages.pins import pins_of
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.handing_back import patch_of
from deploy_manager.upgrades.plan import UpgradeOptions, plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.commands import call, events
from tests.overrides import ADVISORY, HeldSite
from tests.owners import owned

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_an_upgrade_survives_deployments_until_the_repository_has_it(held: HeldSite) -> None:
    assert held.deploy().state == State.SUCCEEDED
    options = UpgradeOptions(
        (PinRequest("shopkit", Reach.EXACT, "1.0.2"),), reason="it greets strangers"
    )
    plan = plan_upgrade([held.environment], options)
    upgrade = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    (deployment,) = advance_upgrade(upgrade.pk)
    run(deployment.pk)
    advance_upgrade(upgrade.pk)
    upgrade.refresh_from_db()
    assert upgrade.state == UpgradeState.SUCCEEDED, upgrade.message
    (override,) = held.environment.overrides.live()
    assert (override.name, override.version, override.before) == ("shopkit", "1.0.2", ["1.0"])
    assert (override.upgrade, override.why) == (upgrade, "asked for: it greets strangers")
    assert override.hashes

    assert held.deploy().state == State.SUCCEEDED
    assert "shopkit==1.0.2" in held.served()
    assert "helper==1.0" in held.served()
    assert {pin.name: pin.version for pin in pins_of(held.environment)}["shopkit"] == "1.0.2"
    assert held.live() == {"shopkit": "1.0.2"}

    commit = held.pin("helper==1.0", "shopkit==1.0.2")
    assert held.live() == {"shopkit": "1.0.2"}
    ended = held.deploy()
    assert "override of shopkit 1.0.2 ends: the repository has 1.0.2" in ended.message
    override.refresh_from_db()
    assert override.ended_how == Override.End.CAUGHT_UP
    assert commit[:8] in override.ended_why


def by_hand(held: HeldSite) -> Deployment:
    return held.request()


def by_a_schedule(held: HeldSite) -> Deployment:
    owned(
        Schedule.objects.create(
            environment=held.environment,
            cron="* * * * *",
            time_zone="UTC",
            looked_at=timezone.now() - timedelta(minutes=3),
        )
    )
    (deployment,) = write_due_deployments()
    return deployment


def by_a_retry(held: HeldSite) -> Deployment:
    before = held.request()
    before.end(State.FAILED)
    before.host_runs.update(state=State.FAILED)
    recipe, options = retry(before)
    return held.request(recipe, **vars(options))


def by_fab(held: HeldSite) -> Deployment:
    return held.request(commit=held.repository.head)


def by_another_ref(held: HeldSite) -> Deployment:
    held.repository.git("branch", "older")
    held.pin("helper==1.0", "shopkit==1.1")
    return held.request(ref="older")


@pytest.mark.parametrize("way", [by_hand, by_a_schedule, by_a_retry, by_fab, by_another_ref])
def test_every_way_to_a_release_goes_by_the_overrides(held: HeldSite, way: Any) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    held.hold("1.0.2", "1.0")
    assert held.pins_of_the_next(way(held)) == {"helper": "1.0", "shopkit": "1.0.2"}


def test_a_commit_that_needs_it_on_more_pythons_gets_the_override_on_all(held: HeldSite) -> None:
    held.hold("1.0.2", "1.0", marker='python_version < "3.1"')
    lock = held.prepared().release.lock.text  # type: ignore[union-attr]
    assert lock.splitlines()[-1] == "shopkit==1.0.2"


def test_a_new_server_gets_the_release_that_serves_with_its_overrides(held: HeldSite) -> None:
    release = held.serve("helper==1.0", "shopkit==1.0.2", repository=("shopkit==1.0",))
    held.hold("1.0.2", "1.0")
    held.inventory.add_server("new")
    options = converge(held.environment, ["new"])
    assert options.release == release
    deployment = held.request("converge", **vars(options))
    assert held.pins_of_the_next(deployment)["shopkit"] == "1.0.2"


def test_an_upgrade_of_another_package_brings_what_is_held(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")  # a rollback took it back for a while
    held.hold("1.0.2", "1.0")
    plan = plan_upgrade(
        [held.environment], UpgradeOptions((PinRequest("helper", Reach.EXACT, "2.0"),))
    )
    moves = {move["name"]: (move["after"], move["why"]) for move in plan.stages[0].moves}
    assert moves == {"helper": ("2.0", "asked for"), "shopkit": ("1.0.2", "held by an override")}


def test_pins_that_are_listed_here_are_nobodys_to_override(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0")
    held.hold("1.0.2", "1.0")
    for name in ("helper", "shopkit"):
        held.environment.requirements.create(name=name, version="1.0")
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    held.environment.refresh_from_db()
    assert held.pins_of_the_next() == {"helper": "1.0", "shopkit": "1.0"}
    Environment.objects.update(pins_from=Environment.PinsFrom.COMMIT)
    held.environment.refresh_from_db()
    assert held.pins_of_the_next()["shopkit"] == "1.0.2"


@pytest.mark.parametrize("is_served", [True, False])
def test_the_set_is_proved_before_any_server_unless_it_serves(
    held: HeldSite, is_served: bool
) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2" if is_served else "shopkit==1.0")
    held.hold("1.0.2", "1.0")
    held.prepared()
    assert bool(held.index.requests) != is_served


def test_a_set_that_does_not_fit_is_reported_with_what_to_do(held: HeldSite) -> None:
    held.hold("2.0", "1.0")
    with pytest.raises(PinError) as why:
        held.prepared()
    told = str(why.value)
    for words in ("helper>=2", "shopkit 2.0", "--let-go shopkit", "Move the pins"):
        assert words in told
    assert not Release.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "1.0.2\nevil==6"},
        {"version": "1.0.2 --hash=sha256:0"},
        {"version": "not a version"},
        {"version": "1.0.*"},
        {"name": "shopkit\nevil", "version": "1"},
        {"name": "Shop_Kit"},
        {"marker": "python_version > '3' \nevil==1"},
        {"marker": "os.system('x')"},
        {"hashes": ["sha256:short"]},
        {"hashes": "sha256"},
        {"hashes": [f"sha256:{'a' * 64} --index-url=http://evil"]},
        {"extras": ["a]==1\nevil"]},
        {"extras": [{}]},
        {"before": {"1.0": 1}},
        {"fixes": 3},
    ],
)
def test_rows_written_around_forms_are_read_as_pins_or_refused(
    held: HeldSite, fields: dict[str, Any]
) -> None:
    usual = {"name": "shopkit", "version": "1.0.2", "before": ["1.0"]}
    Override.objects.create(environment=held.environment, **{**usual, **fields})
    with pytest.raises(PinError, match="is not an exact pin: let it go"):
        held.prepared()
    assert make_plan(held.environment).problems


def test_one_override_at_most_holds_a_pin(held: HeldSite) -> None:
    ended = held.hold("1.0.1", "1.0")
    Override.objects.filter(pk=ended.pk).end(Override.End.LET_GO, "no", "me")
    held.hold("1.0.2", "1.0")
    held.hold("1.0.2", "1.0", marker='python_version < "3"')
    with pytest.raises(IntegrityError), transaction.atomic():
        held.hold("1.0.3", "1.0")


@pytest.mark.django_db(transaction=True)
def test_a_repository_that_dropped_the_package_ends_it(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    override = held.hold("1.0.2", "1.0")
    held.pin("helper==1.0")
    assert held.pins_of_the_next() == {"helper": "1.0"}
    held.deploy()
    override.refresh_from_db()
    assert override.ended_how == Override.End.DROPPED


@pytest.mark.parametrize("lines", [("helper==1.0", "shopkit==1.0.2"), ("helper==1.0",)])
@pytest.mark.parametrize("where", ["branch", "one server"])
@pytest.mark.django_db(transaction=True)
def test_another_branch_or_a_part_of_the_servers_ends_no_override(
    held: HeldSite, lines: tuple[str, ...], where: str
) -> None:
    held.hold("1.0.2", "1.0", fixes=[ADVISORY])
    if where == "one server":
        held.inventory.add_server("two")
    assert held.deploy().state == State.SUCCEEDED
    held.repository.git("checkout", "-q", "-b", "hotfix")
    held.pin(*lines)
    if where == "branch":
        held.repository.git("checkout", "-q", "main")
        requests: dict[str, Any] = {"ref": "hotfix"}
    else:
        held.repository.git("checkout", "-q", "-B", "main")
        requests = {"servers": ["one"]}
    plan = make_plan(held.environment, **requests)
    assert [str(each.outcome) for each in plan.overrides] == [
        "stays: only a deployment of main to all servers can end it"
    ]
    deployment = held.deploy(**requests)
    assert (deployment.state, deployment.message) == (State.SUCCEEDED, "")
    assert held.live() == {"shopkit": "1.0.2"}
    deployment = held.deploy()
    assert deployment.state == State.SUCCEEDED, deployment.message
    if where == "branch":
        assert "shopkit==1.0.2" in held.served()
        assert held.live() == {"shopkit": "1.0.2"}
    else:
        assert "The override of shopkit 1.0.2 ends" in deployment.message
        assert held.live() == {}


@pytest.mark.django_db(transaction=True)
def test_the_last_server_that_is_made_like_the_others_ends_it(held: HeldSite) -> None:
    held.inventory.add_server("two")
    held.deploy()
    held.hold("1.0.2", "1.0")
    held.pin("helper==1.0", "shopkit==1.1")
    held.deploy(servers=["one"])
    options = converge(held.environment, ["two"])
    held.environment.placements.filter(server__name="two").update(active_release=None)
    ended = held.see_through(held.request("converge", **vars(options)))
    assert ended.state == State.SUCCEEDED, ended.message
    assert held.live() == {}


@pytest.mark.parametrize("recipe", ["rollback", "deploy"])
def test_only_what_serves_ends_an_override_and_no_rollback(held: HeldSite, recipe: str) -> None:
    held.hold("1.0.2", "1.0")
    release = held.serve("helper==1.0", "shopkit==1.1")
    deployment = held.request(recipe, release=release)
    if recipe == "deploy":
        held.environment.placements.update(active_release=None)
    end_overtaken(deployment)
    assert held.live() == {"shopkit": "1.0.2"}


@pytest.mark.django_db(transaction=True)
def test_a_failed_deployment_ends_nothing(held: HeldSite) -> None:
    held.hold("1.0.2", "1.0")
    held.pin("helper==1.0", "shopkit==1.1")
    (held.inventory.folder / "one/full").touch()
    assert held.deploy().state == State.FAILED
    assert held.live() == {"shopkit": "1.0.2"}


def test_the_patch_of_an_upgrade_has_what_was_held_before_it(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2", repository=("helper==1.0", "shopkit==1.0"))
    held.hold("1.0.2", "1.0")
    stage = held.upgrade("helper==2.0", "shopkit==1.0.2", state=UpgradeState.SUCCEEDED)
    patch = patch_of(stage).decode()
    assert "+helper==2.0" in patch
    assert "+shopkit==1.0.2" in patch
    assert "- shopkit 1.0 -> 1.0.2: moved by an earlier upgrade" in patch


def test_letting_go_needs_a_reason_and_a_package_that_is_held(held: HeldSite) -> None:
    override = held.hold("1.0.2", "1.0")
    with pytest.raises(RequestRefused, match="Give a reason"):
        let_go(held.environment, "shopkit", by="me", reason="  ")
    with pytest.raises(RequestRefused, match="Its overrides: shopkit"):
        let_go(held.environment, "helper", by="me", reason="why not")
    assert let_go(held.environment, "shopkit", by="me", reason="it breaks the till") == 1
    override.refresh_from_db()
    assert override.ended_how == Override.End.LET_GO
    assert (override.ended_why, override.ended_by_name) == ("it breaks the till", "me")


def test_a_plan_with_an_override_is_written_as_json(held: HeldSite) -> None:
    held.serve("helper==1.0", "shopkit==1.0.2")
    held.hold("1.0.2", "1.0", why=Message("It greets %(whom)s.", whom="strangers"))
    plan, *_others = events(call("deploy", "production", "--dry-run", "--json"))
    (override,) = plan["overrides"]
    assert (override["version"], override["why"]) == ("1.0.2", "It greets strangers.")
