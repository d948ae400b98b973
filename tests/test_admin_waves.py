"""The deployment's page with waves, a pause, a rollback, and one that waits."""

from datetime import timedelta

import pytest
from django.utils import timezone

from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.models import Deployment, Environment, HostRun, Schedule, State, Step
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment


@pytest.fixture
def waved(inventory: Inventory) -> Deployment:
    """A queued deployment of three servers in three waves."""
    for name in ("two", "three"):
        inventory.add_server(name)
    Environment.objects.update(strategy="waves", canary="1", batch="1", pause=300)
    environment = Environment.objects.get()
    return request(
        environment, "deploy", source="admin", requested_by_name="me", options=DeploymentOptions()
    )


def page_of(deployment: Deployment) -> str:
    return str(visitor("deployer").get(url("deployment_change", deployment.pk)).content.decode())


def test_rows_stand_under_their_wave(waved: Deployment) -> None:
    HostRun.objects.filter(server_name="one").update(wave=3)
    HostRun.objects.filter(server_name="three").update(wave=1)
    page = page_of(waved)
    pieces = ["Wave 1 of 3", ">three</a>", "Wave 2 of 3", ">two</a>", "Wave 3 of 3", ">one</a>"]
    places = [page.index(piece) for piece in pieces]
    assert places == sorted(places)


def test_one_wave_is_not_spoken_of(inventory: Inventory) -> None:
    assert "Wave 1" not in page_of(write_deployment(inventory.environment))


def test_the_rollback_is_hidden_until_a_step_of_it_ran(waved: Deployment) -> None:
    viewer = visitor("viewer")
    address = url("deployment_change", waved.pk)
    back = Step.objects.filter(phase="roll_back")
    matrix = viewer.get(address).context["matrix"]
    assert matrix.phases[-1].is_rollback
    assert not matrix.went_back
    assert "dm-matrix dm-went-back" not in viewer.get(address).content.decode()
    back.update(state=State.CANCELLED, finished_at=timezone.now())
    assert not viewer.get(address).context["matrix"].went_back
    back.update(state=State.SUCCEEDED, started_at=timezone.now())
    assert "dm-matrix dm-went-back" in viewer.get(address).content.decode()


def test_the_plan_does_not_speak_of_the_rollback(inventory: Inventory) -> None:
    Environment.objects.update(rollback_on_failure=True)
    page = visitor("deployer").get(url("environment_run", "deploy", on=inventory.environment.pk))
    assert "Roll back" not in page.content.decode().split('id="content-main"')[1]


def test_a_pause_says_when_the_next_wave_begins(waved: Deployment) -> None:
    assert "next wave begins at" not in page_of(waved)
    opens_at = timezone.now() + timedelta(minutes=5)
    Deployment.objects.update(
        state=State.RUNNING, started_at=timezone.now(), opens_at=opens_at, sequence=9
    )
    viewer = visitor("viewer")
    assert "next wave begins at" in viewer.get(url("deployment_change", waved.pk)).content.decode()
    news = viewer.get(url("deployment_progress", waved.pk)).json()["deployment"]
    assert "next wave begins at" in news["pause"]
    assert news["opens"] == pytest.approx(opens_at.timestamp())
    Deployment.objects.update(state=State.CANCELLED, finished_at=timezone.now())
    news = viewer.get(url("deployment_progress", waved.pk)).json()["deployment"]
    assert (news["pause"], news["opens"]) == ("", None)


def test_a_waiting_one_says_what_for_and_can_be_cancelled(inventory: Inventory) -> None:
    environment = inventory.environment
    environment.freeze("Sale", "ana")
    waiting = request(
        environment,
        "deploy",
        source="admin",
        requested_by_name="me",
        options=DeploymentOptions(waits=True),
    )
    page = page_of(waiting)
    for piece in ('data-state="waiting"', "starts automatically", "Sale", "Cancel this deployment"):
        assert piece in page
    assert '<p class="dm-note" data-when="queued" hidden>' in page


def test_its_times_its_schedule_and_forced_migrations_are_reported(inventory: Inventory) -> None:
    schedule = Schedule.objects.create(environment=inventory.environment, cron="30 2 * * *")
    moment = timezone.now() + timedelta(days=1)
    options = DeploymentOptions(
        not_before=moment, deadline=moment, schedule=schedule, forced_migrations=["shop.0002_sum"]
    )
    page = page_of(
        request(
            inventory.environment, "ping", source="admin", requested_by_name="me", options=options
        )
    )
    for piece in ("Run at", "Not after", "30 2 * * *", "shop.0002_sum", "Waits for its time."):
        assert piece in page
