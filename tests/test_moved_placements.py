"""What was seen on a server counts where it was seen: moved, a placement is unknown until seen."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from deploy_manager.admin.inventory.live_releases import describe_live_releases
from deploy_manager.deployments.choices import choose_release, converge, releases_to_return_to
from deploy_manager.deployments.probing import lost_hosts
from deploy_manager.deployments.run import run
from deploy_manager.deployments.writer import Seen, _write_seen
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import (
    Environment,
    HostRun,
    InstalledPackage,
    Placement,
    Release,
    Server,
    State,
)
from deploy_manager.models.places import forget_moved
from deploy_manager.models.serving import serving_release
from deploy_manager.reconcile import reconcile
from tests.releases import Switching

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def served(switching: Switching) -> Switching:
    """`one` serves `new`, and still has `old`; its packages are known."""
    for name in ("old", "new"):
        assert switching.switch_to(name).state == State.SUCCEEDED
    Placement.objects.update(inventory_at=timezone.now(), python_version="3.12.1")
    InstalledPackage.objects.create(placement=Placement.objects.get(), name="a", version="1")
    assert releases_to_return_to(switching.inventory.environment)
    return switching


def save(row: Environment | Placement | Server, **values: object) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.save()


def other_server() -> Server:
    return Server.objects.create(name="other", address="192.0.2.9", user="deploy")


def write_around(path: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE deploy_manager_placement SET own_deploy_path = %s", [path])
    reconcile(lambda pk: None, look=lambda pk: None)


def bulk(path: str) -> None:
    placement = Placement.objects.get()
    placement.own_deploy_path = path
    Placement.objects.bulk_update([placement], ["own_deploy_path"])


def move_environment(path: str) -> None:
    Placement.objects.update(own_deploy_path="")
    placement = Placement.objects.get()
    assert placement.active_release is None  # this alone is another folder
    Placement.objects.update(active_release=placement.environment.releases.first())
    save(placement.environment, deploy_path=path)


MOVES: dict[str, Callable[[str], object]] = {
    "path": lambda path: save(Placement.objects.get(), own_deploy_path=path),
    "path by an update": lambda path: Placement.objects.update(own_deploy_path=path),
    "path of many": bulk,
    "server": lambda path: save(Placement.objects.get(), server=other_server()),
    "server of many": lambda path: Placement.objects.update(server=other_server()),
    "environment's path": move_environment,
    "connection": lambda path: save(
        Server.objects.get(name="one"), connection="ssh", address="192.0.2.1", user="deploy"
    ),
    "connection of many": lambda path: Server.objects.update(
        connection="ssh", address="192.0.2.1", user="deploy"
    ),
    "around the models": write_around,
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_a_placement_that_is_moved_serves_nothing_until_it_is_seen(
    served: Switching, tmp_path: Path, move: Callable[[str], object]
) -> None:
    environment = served.inventory.environment
    move(str(tmp_path / "elsewhere"))
    environment.refresh_from_db()
    placement = Placement.objects.get()
    assert placement.is_unknown
    assert (placement.active_release, placement.activated_at) == (None, None)
    assert (placement.complete_releases, placement.seen_at) == ([], None)
    assert (placement.inventory_at, placement.python_version) == (None, "")
    assert placement.inventory_tried_at is None  # so that it is asked at once
    assert not InstalledPackage.objects.exists()
    assert serving_release(environment) is None
    assert releases_to_return_to(environment) == []
    assert "unknown until it is seen" in describe_live_releases(environment)
    with pytest.raises(RequestRefused, match="is unknown since it was moved: run the recipe ping"):
        choose_release(environment)


@pytest.mark.parametrize(
    ("field", "value"), [("address", "192.0.2.2"), ("port", 2222), ("user", "other")]
)
def test_another_account_is_another_place(served: Switching, field: str, value: object) -> None:
    Server.objects.update(connection="ssh", address="192.0.2.1", user="deploy")
    release = served.inventory.environment.releases.get(name="new")
    Placement.objects.update(active_release=release)
    save(Server.objects.get(), **{field: value})
    assert Placement.objects.get().active_release is None


def test_a_gateway_with_another_address_leads_to_the_same_place(served: Switching) -> None:
    gateway, other = (
        Server.objects.create(name=name, address="192.0.2.8", user="hop") for name in "gh"
    )
    Server.objects.filter(name="one").update(
        connection="ssh", address="192.0.2.1", user="deploy", gateway=gateway
    )
    Placement.objects.update(active_release=Release.objects.get(name="new"))
    save(gateway, address="192.0.2.9")
    assert Placement.objects.get().active_release is not None
    save(Server.objects.get(name="one"), gateway=other)
    assert Placement.objects.get().active_release is None


def test_what_does_not_move_it_forgets_nothing(served: Switching) -> None:
    save(Placement.objects.get(), roles=["app", "worker"], order=7)
    save(Server.objects.get(), name="renamed", host_key="ssh-ed25519 AAAA")
    save(Environment.objects.get(), deploy_path="/srv/unused", health_path="/up")
    placement = Placement.objects.get()
    assert placement.active_release is not None
    assert placement.active_release.name == "new"
    assert (placement.moved_at, InstalledPackage.objects.count()) == (None, 1)
    assert forget_moved() == 0


def test_it_is_known_again_as_soon_as_a_recipe_has_looked(
    served: Switching, tmp_path: Path
) -> None:
    placement = Placement.objects.get()
    back = placement.own_deploy_path
    save(placement, own_deploy_path=str(tmp_path / "elsewhere"))
    assert placement.is_unknown
    save(placement, own_deploy_path=back)
    assert placement.is_unknown
    deployment = served.inventory.request("ping")
    run(deployment.pk)
    placement.refresh_from_db()
    assert not placement.is_unknown
    assert placement.active_release is not None
    assert sorted(placement.complete_releases) == ["new", "old"]


def test_a_worker_that_looked_where_it_was_before_writes_nothing(
    served: Switching, tmp_path: Path
) -> None:
    looked_at = Placement.objects.select_related("environment", "server").get()
    deployment = served.inventory.environment.deployments.earliest("pk")
    Placement.objects.update(own_deploy_path=str(tmp_path / "elsewhere"))
    now = timezone.now()
    _write_seen(deployment, [Seen(looked_at, "new", ("new", "old"), now, now)])
    placement = Placement.objects.get()
    assert (placement.active_release, placement.complete_releases) == (None, [])


def test_a_converge_takes_no_moved_server_as_its_model(served: Switching, tmp_path: Path) -> None:
    served.inventory.add_server("two")
    assert converge(served.inventory.environment, ["two"]).release is not None
    one = Placement.objects.get(server__name="one")
    save(one, own_deploy_path=str(tmp_path / "elsewhere"))
    with pytest.raises(RequestRefused, match="No other server"):
        converge(served.inventory.environment, ["two"])


def test_a_lost_host_is_not_looked_for_where_it_was_moved_to(
    served: Switching, tmp_path: Path
) -> None:
    lost = HostRun.objects.latest("pk")
    before = timezone.now() - timedelta(minutes=1)
    HostRun.objects.filter(pk=lost.pk).update(state=State.LOST, finished_at=before)
    assert list(lost_hosts()) == [lost]
    Placement.objects.update(own_deploy_path=str(tmp_path / "elsewhere"))
    assert list(lost_hosts()) == []
