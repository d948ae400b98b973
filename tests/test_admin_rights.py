"""Who may open and press what, by rights on everything and on one environment."""

import pytest
from django.test import Client
from pytest_django import Settings

from deploy_manager.models import Deployment, Environment, Server, State
from tests.inventory import Inventory
from tests.parts.admin import RUNS, ObjectRights, make_user, url, visitor, write_deployment
from tests.parts.admin_run import shown_plan

OK, REFUSED, TO_LOG_IN = 200, 403, 302

PAGES = {
    "environments": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": REFUSED},
    "environment": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": REFUSED},
    "run": {"owner": OK, "deployer": OK, "viewer": REFUSED, "stranger": 404},
    "requirements": {"owner": OK, "deployer": REFUSED, "viewer": REFUSED, "stranger": 404},
    "deployments": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": REFUSED},
    "deployment": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": 404},
    "progress": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": 404},
    "log": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": 404},
    "host key": {"owner": OK, "deployer": REFUSED, "viewer": REFUSED, "stranger": 404},
    "servers": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": REFUSED},
    "releases": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": REFUSED},
    "locks": {"owner": OK, "deployer": OK, "viewer": OK, "stranger": REFUSED},
}


def address(page: str, deployment: Deployment) -> str:
    environment = deployment.environment
    server = Server.objects.get()
    return {
        "environments": url("environment_changelist"),
        "environment": url("environment_change", environment.pk),
        "run": url("environment_run", "ping", on=environment.pk),
        "requirements": url("environment_requirements", environment.pk),
        "deployments": url("deployment_changelist"),
        "deployment": url("deployment_change", deployment.pk),
        "progress": url("deployment_progress", deployment.pk),
        "log": url("deployment_log", deployment.pk),
        "search": url("deployment_search", deployment.pk, q="a"),
        "host key": url("server_host_key", server.pk),
        "servers": url("server_changelist"),
        "releases": url("release_changelist"),
        "locks": url("lockfile_changelist"),
    }[page]


@pytest.fixture
def deployment(inventory: Inventory) -> Deployment:
    return write_deployment(inventory.environment)


@pytest.fixture
def one_environment(
    settings: Settings, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> Client:
    """A visitor who may run just one environment, by rights on that object."""
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    monkeypatch.setattr(ObjectRights, "granted", set())
    user = make_user("narrow")
    for right in RUNS:
        ObjectRights.grant(user, right, inventory.environment)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.parametrize("who", ["owner", "deployer", "viewer", "stranger", "nobody"])
@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_for_whom_it_should(page: str, who: str, deployment: Deployment) -> None:
    answer = visitor(who).get(address(page, deployment))
    assert answer.status_code == PAGES[page].get(who, TO_LOG_IN)


@pytest.mark.parametrize(
    ("who", "status", "asked"),
    [
        ("owner", 302, True),
        ("deployer", 302, True),
        ("viewer", 403, False),
        ("stranger", 404, False),
        ("nobody", 302, False),
    ],
)
def test_only_who_may_deploy_cancels(
    who: str, status: int, asked: bool, deployment: Deployment
) -> None:
    answer = visitor(who).post(url("deployment_cancel", deployment.pk))
    deployment.refresh_from_db()
    assert answer.status_code == status
    assert (deployment.cancel_requested_at is not None) == asked


def test_cancel_needs_a_post_and_a_token(deployment: Deployment) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("ana", superuser=True))
    assert strict.get(url("deployment_cancel", deployment.pk)).status_code == 405
    assert strict.post(url("deployment_cancel", deployment.pk)).status_code == 403
    deployment.refresh_from_db()
    assert deployment.cancel_requested_at is None


@pytest.mark.parametrize("kind", ["deployment", "release", "lockfile"])
def test_history_is_changed_by_nobody(kind: str, deployment: Deployment) -> None:
    owner = visitor("owner")
    assert owner.get(url(f"{kind}_add")).status_code == 403
    assert owner.post(url(f"{kind}_delete", deployment.pk)).status_code in (302, 403)
    assert owner.post(url("deployment_change", deployment.pk)).status_code == 403
    assert Deployment.objects.filter(pk=deployment.pk).exists()


def test_a_right_on_one_environment_shows_only_that_one(
    one_environment: Client, inventory: Inventory
) -> None:
    other = Environment.objects.create(
        project=inventory.environment.project, name="other", deploy_path="/srv/other"
    )
    hidden = write_deployment(other, state=State.SUCCEEDED)
    mine = write_deployment(inventory.environment, state=State.SUCCEEDED)
    page = one_environment.get(url("environment_changelist"))
    assert [row.name for row in page.context["cl"].result_list] == ["production"]
    assert "Ping" in page.content.decode()
    history = one_environment.get(url("deployment_changelist"))
    assert list(history.context["cl"].result_list) == [mine]
    assert one_environment.get(url("deployment_change", hidden.pk)).status_code == 404
    assert one_environment.get(url("environment_run", "ping", on=other.pk)).status_code == 404


def test_a_right_on_one_environment_asks_and_cancels_there(
    one_environment: Client, inventory: Inventory
) -> None:
    environment = inventory.environment
    prefix = f"e{environment.pk}"
    one_environment.post(
        url("environment_run", "ping", on=environment.pk),
        {
            f"{prefix}-confirmed": "on",
            f"{prefix}-servers": "one",
            f"{prefix}-shown_servers": "one",
            f"{prefix}-shown_plan": shown_plan(environment, "one"),
            "_confirm": "1",
        },
    )
    deployment = Deployment.objects.get()
    assert one_environment.get(url("deployment_change", deployment.pk)).status_code == 200
    one_environment.post(url("deployment_cancel", deployment.pk))
    deployment.refresh_from_db()
    assert deployment.state == State.CANCELLED


def test_the_index_shows_the_app_to_whom_it_concerns(one_environment: Client) -> None:
    assert b"Environments" in one_environment.get("/admin/").content
    assert b"Environments" not in visitor("stranger").get("/admin/").content
