"""Who asked may lose the right meanwhile: what is due ends and says why, what goes back does."""

from collections.abc import Callable

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission, User
from pytest_django import Settings

from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run, run_shard
from deploy_manager.models import Deployment, Environment, State, UpgradeState
from tests.inventory import claim
from tests.loop import Pair
from tests.releases import PIPELINE, Switching

pytestmark = pytest.mark.django_db(transaction=True)


class Raising(ModelBackend):
    """A directory of people that is out of reach."""

    def has_perm(self, user_obj: object, perm: str, obj: object = None) -> bool:
        raise ConnectionError("the directory is away")


@pytest.fixture
def eve(db: None) -> User:
    user = User.objects.create_user("eve")
    rights = ("upgrade_environment", "run_recipe_environment")
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return user


LOSSES: dict[str, Callable[[User], object]] = {
    "revoked": lambda user: user.user_permissions.clear(),
    "deactivated": lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
    "deleted": lambda user: user.delete(),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_an_upgrade_whose_asker_may_no_more_returns_what_it_moved_and_ends(
    pair: Pair, eve: User, lose: Callable[[User], object]
) -> None:
    staging, production = pair.both
    upgrade = pair.upgrade(
        staging, production, source="admin", requested_by=eve, requested_by_name="eve"
    )
    first, second = upgrade.stages.order_by("number")
    pair.bring(first)
    upgrade.stages.filter(pk=first.pk).update(state=UpgradeState.SUCCEEDED)
    lose(eve)
    pair.reconcile()
    second.refresh_from_db()
    assert second.state == UpgradeState.FAILED
    assert second.message == "eve may no longer upgrade shop/good."
    first.refresh_from_db()
    assert first.state == UpgradeState.RETURNING
    assert first.returned_by is not None
    assert prepare(claim(first.returned_by)).release == first.release_before
    Deployment.objects.get(pk=first.returned_by.pk).end(State.SUCCEEDED)
    pair.reconcile()
    upgrade.refresh_from_db()
    assert upgrade.state == UpgradeState.FAILED
    assert "eve may no longer upgrade shop/good." in upgrade.message
    assert not pair.problems()


def test_a_directory_that_is_away_holds_up_its_people_only_and_no_return(
    pair: Pair, eve: User, settings: Settings
) -> None:
    theirs = pair.upgrade(pair.bad, source="admin", requested_by=eve, requested_by_name="eve")
    ours = pair.upgrade(pair.good)
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Raising"]
    pair.reconcile()
    assert ours.stages.get().state == UpgradeState.RUNNING
    assert theirs.stages.get().state == UpgradeState.WAITING
    assert pair.problems() == {"bad": "ConnectionError: the directory is away"}
    pair.bring(theirs.stages.get())
    theirs.stages.update(state=UpgradeState.RETURNING)
    pair.reconcile()
    assert theirs.stages.get().returned_by is not None
    assert not pair.problems()


def test_a_return_waits_for_no_times_that_nobody_can_read(pair: Pair) -> None:
    upgrade = pair.upgrade(pair.bad, wanted=5)
    pair.bring(upgrade.stages.get())
    upgrade.stages.update(state=UpgradeState.RETURNING)
    Environment.objects.filter(pk=pair.bad.pk).update(windows=["whenever"])
    pair.reconcile()
    back = upgrade.stages.get().returned_by
    assert back is not None
    assert back.state == State.QUEUED


def begin_in_waves(switching: Switching, eve: User) -> Deployment:
    """Ask as a person, and see the first of two waves through."""
    switching.inventory.add_server("two")
    site = switching.inventory.environment
    Environment.objects.filter(pk=site.pk).update(strategy="waves", canary="1", pause=3600)
    site.refresh_from_db()
    options = DeploymentOptions(release=switching.make_release("new"))
    asked = request(
        site, PIPELINE, source="admin", requested_by_name="eve", user=eve, options=options
    )
    run_until_the_pause(asked)
    return asked


def run_until_the_pause(deployment: Deployment) -> None:
    run_shard(deployment.shards.get().pk, lambda pk: None)
    deployment.refresh_from_db()


def test_a_server_that_was_switched_before_the_right_was_lost_is_not_called_skipped(
    switching: Switching, eve: User
) -> None:
    deployment = begin_in_waves(switching, eve)
    assert switching.current("one") == "new"
    assert deployment.opens_at is not None
    eve.user_permissions.clear()
    Deployment.objects.filter(pk=deployment.pk).update(opens_at=deployment.created_at)
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert deployment.message == "eve may no longer run recipes on shop/production."
    told = {host.server_name: (host.state, host.message) for host in deployment.host_runs.all()}
    assert told == {
        "one": (
            State.FAILED,
            f"{deployment.message}\nIt serves the new release,"
            " but the steps after the switch were not run.",
        ),
        "two": (State.SKIPPED, deployment.message),
    }
    assert switching.told("two") == ["prepare"]


def test_servers_go_back_though_who_asked_may_no_more(switching: Switching, eve: User) -> None:
    switching.inventory.add_server("two")
    switching.switch_to("old")
    site = switching.inventory.environment
    Environment.objects.filter(pk=site.pk).update(
        strategy="waves", canary="1", pause=3600, rollback_on_failure=True
    )
    site.refresh_from_db()
    options = DeploymentOptions(release=switching.make_release("new"))
    asked = request(
        site, PIPELINE, source="admin", requested_by_name="eve", user=eve, options=options
    )
    run_until_the_pause(asked)
    rollback = asked.host_runs.get(server_name="one").steps.filter(phase="roll_back")
    Deployment.objects.filter(pk=asked.pk).update(stage=rollback[0].stage, opens_at=None)
    asked.shards.update(state="queued")
    eve.user_permissions.clear()
    held = claim(asked)
    prepare(held)
