"""The admin shows what runs on servers: in the lists, and in a table on an environment's page."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.utils import timezone

from deploy_manager.admin.badges import short_time
from deploy_manager.messages import Message
from deploy_manager.models import Environment, Placement, SeenProcess, Watch
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.test_admin_lists import add_site, count_queries, row_of

pytestmark = pytest.mark.django_db

State = SeenProcess.State


def see(placement: Placement, *states: str, **values: object) -> Watch:
    """Write what a look would have: a process `worker 1`, `worker 2` … for each state."""
    watch = Watch.objects.create(placement=placement, seen_at=timezone.now(), **values)
    for number, state in enumerate(states, 1):
        SeenProcess.objects.create(
            watch=watch,
            name="worker",
            instance=str(number),
            state=state,
            since=timezone.now(),
            releases="r1",
        )
    return watch


def words_of(environment: Environment) -> str:
    return " ".join(row_of(visitor("viewer"), environment).split())


def test_the_list_of_environments_counts_what_is_down(db: None) -> None:
    environment = add_site(1)
    one, two = environment.placements.all()
    see(one, State.UP, State.DOWN, State.DOWN, State.RESTARTING)
    see(two, State.UP, State.OLD, State.UNKNOWN)
    row = words_of(environment)
    assert 'data-state="down">2 of 7 processes down' in row
    assert "1 of 7 processes restarting" in row
    assert "1 of 7 processes on another release" in row
    assert "1 of 7 processes unknown" in row


def test_the_list_says_how_many_are_up_and_who_was_not_reached(db: None) -> None:
    environment = add_site(1)
    one, two = environment.placements.all()
    see(one, State.UP, State.UP)
    assert 'data-state="up">2 processes up' in words_of(environment)
    see(two, problem=Message("web2 refuses connections."))
    assert "1 server not reached" in row_of(visitor("owner"), environment)


def test_the_list_of_servers_counts_them_for_all_sites(db: None) -> None:
    first, second = (add_site(number).placements.all()[0] for number in (1, 2))
    second.server = first.server
    second.save()
    Placement.objects.update(active_release=None)
    for placement in (first, second):
        see(placement, State.UP, State.DOWN)
    page = visitor("owner").get(url("server_changelist")).content.decode()
    assert "2 of 4 processes down" in page


@pytest.mark.parametrize("name", ["environment", "server"])
def test_a_longer_list_asks_no_more_questions(db: None, name: str) -> None:
    owner = visitor("owner")

    def add(number: int) -> None:
        for placement in add_site(number).placements.all():
            see(placement, State.UP, State.DOWN)

    add(1)
    before = count_queries(owner, url(f"{name}_changelist"))
    for number in range(2, 7):
        add(number)
    assert count_queries(owner, url(f"{name}_changelist")) == before


def test_the_page_shows_each_process_of_each_server(inventory: Inventory) -> None:
    owner = visitor("owner")
    (placement,) = inventory.environment.placements.all()
    booted = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
    watch = see(placement, State.UP, State.DOWN, supervisor="systemd-user", rebooted_at=booted)
    SeenProcess.objects.filter(state=State.DOWN).update(message=Message("<b>It is failed.</b>"))
    page = page_of(owner, inventory)
    assert "one</span> · systemd-user" in page
    assert 'data-state="down">down' in page
    assert "&lt;b&gt;It is failed." in page
    assert f"rebooted {short_time(booted)}" in page
    assert "not everything runs again yet" in page
    Watch.objects.filter(pk=watch.pk).update(
        back_at=booted, starts=3, started_at=booted, start_problem=Message("It ended at once.")
    )
    page = page_of(owner, inventory)
    assert f"everything was seen to run again {short_time(booted)}" in page
    assert "started again 3 times in a row" in page
    assert "It ended at once." in page


def page_of(owner: Client, inventory: Inventory) -> str:
    return owner.get(url("environment_change", inventory.environment.pk)).content.decode()


def test_the_page_of_more_processes_asks_no_more_questions(inventory: Inventory) -> None:
    owner = visitor("owner")
    page = url("environment_change", inventory.environment.pk)
    (placement,) = inventory.environment.placements.all()
    see(placement, State.UP)
    before = count_queries(owner, page)
    Watch.objects.all().delete()
    see(placement, *[State.DOWN] * 20)
    assert count_queries(owner, page) == before


def test_a_page_without_watched_processes_says_so(inventory: Inventory) -> None:
    assert "No process was seen yet." in page_of(visitor("owner"), inventory)


def test_people_choose_to_hear_of_processes(inventory: Inventory) -> None:
    inventory.environment.notifications.create(target="team", states=["process_down"])
    page = page_of(visitor("owner"), inventory)
    assert 'value="process_down"' in page
    assert 'value="process_back"' in page
