"""The button that runs a deployment again on the servers that did not come through."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from deploy_manager.models import Deployment, HostRun, Release, Server, State
from deploy_manager.models.requirements import LockFile
from tests.inventory import Inventory
from tests.parts.admin import make_user, url, visitor, write_deployment


@pytest.fixture
def failed(inventory: Inventory) -> Deployment:
    """A ping that failed on two of three servers."""
    inventory.add_server("two")
    inventory.add_server("three")
    deployment = write_deployment(inventory.environment, state=State.FAILED, reason="A try")
    HostRun.objects.filter(server_name="one").update(state=State.SUCCEEDED)
    return deployment


def page_of(deployment: Deployment, who: str = "deployer") -> str:
    return str(visitor(who).get(url("deployment_change", deployment.pk)).content.decode())


def test_the_button_says_on_how_many_servers(failed: Deployment) -> None:
    assert 'value="Retry on 2 servers"' in page_of(failed)
    assert "/retry/" not in page_of(failed, "viewer")


def test_pressing_it_goes_to_those_servers_only_and_links_back(failed: Deployment) -> None:
    deployer = visitor("deployer")
    answer = deployer.post(url("deployment_retry", failed.pk))
    again = Deployment.objects.exclude(pk=failed.pk).get()
    assert answer["Location"] == url("deployment_change", again.pk)
    assert {run.server_name for run in again.host_runs.all()} == {"two", "three"}
    assert (again.retry_of, again.reason, again.source) == (failed, "A try", "admin")
    assert again.requested_by is not None
    assert again.requested_by_name == again.requested_by.username == "deployer"
    assert LogEntry.objects.get().object_id == str(again.pk)
    page = deployer.get(answer["Location"]).content.decode()
    assert f'<a href="{url("deployment_change", failed.pk)}">#{failed.pk} ping</a>' in page


def test_what_came_through_or_still_runs_has_no_button(inventory: Inventory) -> None:
    done = write_deployment(inventory.environment, state=State.SUCCEEDED)
    running = write_deployment(inventory.environment)
    owner = visitor("owner")
    for deployment in (done, running):
        page = owner.get(url("deployment_change", deployment.pk)).content.decode()
        assert "Retry on" not in page


@pytest.mark.parametrize("length", [1, 2, 3])
def test_retries_that_lead_back_to_themselves_are_each_looked_at_once(
    failed: Deployment, length: int
) -> None:
    circle = [
        failed,
        *(write_deployment(failed.environment, state=State.FAILED) for _ in range(length - 1)),
    ]
    for one, before in zip(circle, [*circle[1:], failed], strict=True):
        Deployment.objects.filter(pk=one.pk).update(retry_of=before)
    assert 'value="Retry on 2 servers"' in page_of(failed)
    visitor("owner").post(url("deployment_retry", failed.pk))
    assert Deployment.objects.filter(retry_of=failed, state=State.QUEUED).exists()


def test_a_server_that_left_since_is_named_and_the_others_are_retried(failed: Deployment) -> None:
    failed.environment.placements.get(server__name="two").delete()
    assert 'value="Retry on 1 server"' in page_of(failed, "owner")
    answer = visitor("deployer").post(url("deployment_retry", failed.pk), follow=True)
    told = "Left out, as they are no longer in the environment: two."
    assert told in answer.content.decode()
    again = Deployment.objects.get(retry_of=failed)
    assert [run.server_name for run in again.host_runs.all()] == ["three"]


def test_if_all_that_failed_have_left_there_is_nothing_to_retry(failed: Deployment) -> None:
    failed.environment.placements.exclude(server__name="one").delete()
    assert "Retry on" not in page_of(failed, "owner")
    answer = visitor("deployer").post(url("deployment_retry", failed.pk), follow=True)
    assert "are no longer in shop/production: two, three." in answer.content.decode()


def test_a_server_is_found_by_its_new_name(failed: Deployment) -> None:
    Server.objects.filter(name="two").update(name="second")
    visitor("deployer").post(url("deployment_retry", failed.pk))
    again = Deployment.objects.get(retry_of=failed)
    assert {run.server_name for run in again.host_runs.all()} == {"second", "three"}


def test_a_refusal_is_reported_in_words(failed: Deployment) -> None:
    running = write_deployment(failed.environment)
    answer = visitor("deployer").post(url("deployment_retry", failed.pk), follow=True)
    assert f"ping #{running.pk} by me is running" in answer.content.decode()
    assert Deployment.objects.count() == 2


def test_a_bad_release_is_not_sent_again(failed: Deployment) -> None:
    lock = LockFile.objects.of("a" * 64, "a==1\n")
    bad = Release.objects.make(failed.environment, "a" * 40, "Begin", lock)
    bad.mark_bad("It breaks.")
    Deployment.objects.update(release=bad)
    assert "Retry on" not in page_of(failed)
    answer = visitor("owner").post(url("deployment_retry", failed.pk), follow=True)
    assert "was marked as bad" in answer.content.decode()


@pytest.mark.parametrize(
    ("who", "status", "number"),
    [("owner", 302, 2), ("deployer", 302, 2), ("viewer", 403, 1), ("stranger", 404, 1)],
)
def test_only_who_may_deploy_retries(
    who: str, status: int, number: int, failed: Deployment
) -> None:
    assert visitor(who).post(url("deployment_retry", failed.pk)).status_code == status
    assert Deployment.objects.count() == number


def test_retrying_needs_a_post_and_a_token(failed: Deployment) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("ana", superuser=True))
    assert strict.get(url("deployment_retry", failed.pk)).status_code == 405
    assert strict.post(url("deployment_retry", failed.pk)).status_code == 403
    assert Deployment.objects.count() == 1
