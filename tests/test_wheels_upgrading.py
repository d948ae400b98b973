"""A deployment and an upgrade on servers that reach no index, with a builder among them."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from pytest_django import Settings

from deploy_manager.checks import TAG
from deploy_manager.conf import get_settings
from deploy_manager.deployments.run import run
from deploy_manager.models import (
    Deployment,
    Environment,
    Placement,
    Server,
    State,
    Upgrade,
    UpgradeState,
)
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.pins import lock_text
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.plan import UpgradeOptions, plan_upgrade
from deploy_manager.upgrades.progress import advance_upgrade
from deploy_manager.upgrades.requests import request_upgrade
from tests.inventory import Inventory, make_inventory
from tests.parts.index import Index
from tests.parts.new_project import TOP, NewProject
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd
from tests.test_over_ssh import deploy, reach_over_ssh
from tests.test_wheels_building import backend
from tests.wheel_site import NO_INDEX


@pytest.fixture
def index(package_index: Index, monkeypatch: pytest.MonkeyPatch) -> Index:
    """An index that only the worker knows, with a password that only its environment has."""
    package_index.user, package_index.password = "ann", "s3cret"
    monkeypatch.setenv("UV_DEFAULT_INDEX", package_index.url_with_credentials)
    for version in ("1.0", "1.1"):
        package_index.add("shopkit", version)
    return package_index


@pytest.fixture
def builds(offline_sshd: Sshd) -> Path:
    """A file with a line for each build."""
    log = offline_sshd.new_folder() / "builds"
    log.touch()
    log.chmod(0o666)
    return log


@pytest.fixture
def production(
    repository: Repository,
    index: Index,
    offline_sshd: Sshd,
    ssh_settings: Settings,
    builds: Path,
    tmp_path: Path,
    transactional_db: None,
) -> Inventory:
    """`shop/production` on two servers that know no index, one of which builds."""
    digest = index.add("brush", "1.0", as_sdist=True, modules=backend(builds)).sha256
    pins = complete_pins("shopkit==1.0", index_url=index.url_with_credentials)
    lock = f"{lock_text(pins)}brush==1.0 --hash=sha256:{digest}\n"
    repository.commit("Greet", {"manage.py": "", "requirements.txt": lock})
    made = make_inventory(tmp_path, str(repository.path))
    for name in ("web1", "web2"):
        server = Server(name=name)
        reach_over_ssh(server, offline_sshd)
        path = str(offline_sshd.new_folder())
        Placement.objects.create(environment=made.environment, server=server, own_deploy_path=path)
    builder = Server.objects.get(name="web1")
    Environment.objects.update(
        wheels="shipped", builder=builder, installer="uv", reload_method="none", health_path=""
    )
    made.environment.refresh_from_db()
    return made


def log_of(deployment: Deployment) -> str:
    return b"".join(bytes(chunk.data) for chunk in deployment.log_chunks.all()).decode()


def upgrade_to_the_newest(environment: Environment) -> Upgrade:
    plan = plan_upgrade([environment], UpgradeOptions((PinRequest("shopkit", Reach.LATEST),)))
    upgrade = request_upgrade(plan, source="manage.py", requested_by_name="me@here")
    while advance_upgrade(upgrade.pk):
        for pk in Deployment.objects.busy().values_list("pk", flat=True):
            run(pk)
    upgrade.refresh_from_db()
    return upgrade


@pytest.mark.long
def test_a_deployment_and_an_upgrade_need_no_index_on_the_servers(
    production: Inventory, index: Index, builds: Path
) -> None:
    first = deploy(production)
    assert "2 wheels for CPython" in log_of(first)
    assert builds.read_text() == "built\n"

    upgrade = upgrade_to_the_newest(production.environment)

    assert upgrade.state == UpgradeState.SUCCEEDED, upgrade.message
    second = Deployment.objects.latest("pk")
    assert second.state == State.SUCCEEDED
    assert "s3cret" not in log_of(first) + log_of(second)
    assert builds.read_text() == "built\n"
    assert len(list((get_settings().CACHE / "wheels/files").glob("*/brush-1.0-*.whl"))) == 1
    for placement in production.environment.placements.all():
        lock = Path(placement.deploy_path, "current/venv/shipped.lock").read_text()
        assert "shopkit==1.1" in lock
    assert index.requests.count("/files/shopkit-1.1-py3-none-any.whl") == 1


def test_a_builder_with_nothing_to_build_is_refused(inventory: Inventory) -> None:
    environment = inventory.environment
    environment.builder = inventory.add_server("forge").server

    with pytest.raises(ValidationError, match="A builder is only for wheels that the worker sends"):
        environment.full_clean()

    environment.save()
    told = {message.id: message.msg for message in run_checks(tags=[TAG])}
    assert "shop/production has a builder" in told["deploy_manager.W009"]
    environment.wheels = Environment.Wheels.SHIPPED
    environment.full_clean()


MAKE_SITE = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository={repository!r})
environment = project.environments.create(
    name="production", deploy_path={folder!r}, reload_method="none", health_path=""
)
server = Server.objects.create(name="one", connection="local")
Placement.objects.create(environment=environment, server=server)
"""


@pytest.mark.long
def test_the_page_can_be_followed(
    repository: Repository,
    index: Index,
    tmp_path: Path,
    new_project: NewProject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pins = complete_pins("shopkit==1.0", index_url=index.url_with_credentials)
    repository.commit("Greet", {"manage.py": "", "requirements.txt": lock_text(pins)})
    monkeypatch.setenv("PIP_INDEX_URL", NO_INDEX)
    project = new_project
    rows = MAKE_SITE.format(repository=str(repository.path), folder=str(tmp_path / "site"))
    project.run("python", "manage.py", "shell", "-v0", "-c", rows)

    _chosen, dry, deployed = project.follow(TOP / "docs/servers-without-internet.md")

    assert "sends the server those that it lacks" in dry
    assert "1 wheels for CPython" in deployed
    assert (tmp_path / "site/current/venv/wheels/shopkit-1.0-py3-none-any.whl").exists()
