"""The lists: what they tell at a glance, in how many queries, and in which language."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from deploy_manager.models import Environment, LockFile, Project, Release, Server, State, Step
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment, write_output

LISTS = ("project", "environment", "server", "requirement", "release", "lockfile", "deployment")


def add_site(number: int) -> Environment:
    """Write a project with an environment on two servers, released and deployed."""
    project = Project.objects.create(name=f"site{number}", repository="/srv/git")
    environment = Environment.objects.create(
        project=project, name="production", deploy_path=f"/srv/{number}"
    )
    release = Release.objects.make(
        environment, f"{number:040x}", "Subject", LockFile.objects.of(f"{number}", "a==1\n")
    )
    for letter in "ab":
        server = Server.objects.create(name=f"{letter}{number}", address="10.0.0.1", user="deploy")
        environment.placements.create(server=server, active_release=release)
    environment.requirements.create(name="a", version="1")
    for state in (State.FAILED, State.SUCCEEDED):
        write_deployment(environment, state=state, release=release)
    return environment


def count_queries(client: Client, address: str) -> int:
    """Queries of a second visit: the first one fills what Django remembers."""
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


@pytest.mark.parametrize("name", LISTS)
def test_a_longer_list_asks_no_more_questions(db: None, name: str) -> None:
    owner = visitor("owner")
    add_site(1)
    add_site(2)
    before = count_queries(owner, url(f"{name}_changelist"))
    for number in range(3, 9):
        add_site(number)
    assert count_queries(owner, url(f"{name}_changelist")) == before


def test_a_deployment_of_more_servers_asks_no_more_questions(inventory: Inventory) -> None:
    owner = visitor("owner")
    few = write_deployment(inventory.environment, state=State.SUCCEEDED)
    for number in range(6):
        inventory.add_server(f"web{number}")
    many = write_deployment(inventory.environment, state=State.SUCCEEDED)
    pages = [url("deployment_change", entry.pk) for entry in (few, many)]
    assert count_queries(owner, pages[0]) == count_queries(owner, pages[1])


def test_an_environment_asks_only_for_the_name_in_each_servers_field(inventory: Inventory) -> None:
    owner = visitor("owner")
    inventory.add_server("two")
    page = url("environment_change", inventory.environment.pk)
    before = count_queries(owner, page)
    for number in range(6):
        inventory.add_server(f"web{number}")
    assert count_queries(owner, page) == before + 6


def test_progress_of_more_output_asks_no_more_questions(inventory: Inventory) -> None:
    owner = visitor("owner")
    deployment = write_deployment(inventory.environment, titles=("Fetch", "Build"))
    progress = url("deployment_progress", deployment.pk)
    write_output(Step.objects.get(number=1), b"a\n")
    before = count_queries(owner, progress)
    for number in (1, 2, 1, 2):
        write_output(Step.objects.get(number=number), b"b\n")
    assert count_queries(owner, progress) == before


def row_of(client: Client, environment: Environment) -> str:
    page = client.get(url("environment_changelist", project__id__exact=environment.project_id))
    return str(page.content.decode().split("<tbody>")[1].split("</tbody>")[0])


def test_an_environment_shows_what_is_live_and_how_it_went(db: None) -> None:
    environment = add_site(1)
    row = row_of(visitor("viewer"), environment)
    assert "site1/production" in row
    assert ">00000000</code>" in row
    assert 'data-state="succeeded"' in row
    assert url("deployment_change", environment.deployments.latest("pk").pk) in row


def test_servers_that_serve_different_releases_are_said_to_be_mixed(db: None) -> None:
    environment = add_site(1)
    placement = environment.placements.all()[0]
    placement.active_release = None
    placement.save()
    row = row_of(visitor("viewer"), environment)
    assert "mixed" in row
    assert "nothing on 1" in row


def test_an_environment_that_was_never_deployed_says_so(inventory: Inventory) -> None:
    assert "nothing yet" in row_of(visitor("viewer"), inventory.environment)


def test_a_server_without_a_pinned_key_is_marked(db: None) -> None:
    add_site(1)
    assert "not pinned" in visitor("viewer").get(url("server_changelist")).content.decode()


def test_deployments_are_filtered_by_state_and_found_by_reason(db: None) -> None:
    environment = add_site(1)
    write_deployment(environment, state=State.LOST, reason="A hurry")
    viewer = visitor("viewer")
    lost = viewer.get(url("deployment_changelist", state__exact="lost"))
    found = viewer.get(url("deployment_changelist", q="hurry"))
    assert len(lost.context["cl"].result_list) == len(found.context["cl"].result_list) == 1


@pytest.mark.parametrize("name", LISTS)
def test_lists_open_in_french(db: None, name: str) -> None:
    add_site(1)
    owner = visitor("owner")
    answer = owner.get(url(f"{name}_changelist"), headers={"accept-language": "fr"})
    assert 'lang="fr"' in answer.content.decode()


def test_pages_open_in_french_with_numbers_that_scripts_can_read(db: None) -> None:
    environment = add_site(1)
    deployment = environment.deployments.latest("pk")
    type(deployment).objects.update(sequence=1234567)
    owner = visitor("owner")
    french = {"accept-language": "fr"}
    page = owner.get(url("deployment_change", deployment.pk), headers=french).content.decode()
    assert 'data-cursor="1234567"' in page
    run = url("environment_run", "ping", on=environment.pk)
    assert owner.get(run, headers=french).status_code == 200
