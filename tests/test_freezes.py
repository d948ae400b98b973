"""Freezes are rows: one is open at a time, an expired one is over, and all of them are kept."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deploy_manager.models import Environment, Freeze
from deploy_manager.models.freezes import FreezeQuerySet
from tests.inventory import Inventory
from tests.parts.admin import url, visitor

HOUR = timedelta(hours=1)


@pytest.fixture
def environment(inventory: Inventory) -> Environment:
    return inventory.environment


def test_a_freeze_holds_until_its_time_without_anybody_ending_it(environment: Environment) -> None:
    assert environment.freeze("Sale", "ana", until=timezone.now() - HOUR)
    assert not environment.is_frozen
    assert environment.describe_freeze() == ""
    assert environment.freezes.open().exists()
    assert not environment.freezes.active().exists()
    assert environment.freezes.active(timezone.now() - 2 * HOUR).exists()


def test_the_next_freeze_ends_the_one_before(environment: Environment) -> None:
    environment.freeze("Sale", "ana")
    assert environment.freeze("Holidays", "bob")
    newest, before = environment.freezes.all()
    assert (newest.reason, newest.ended_at) == ("Holidays", None)
    assert (before.reason, before.ended_by_name) == ("Sale", "bob")


def test_an_expired_one_was_ended_by_its_time_whatever_comes_next(environment: Environment) -> None:
    until = timezone.now() - HOUR
    environment.freeze("Sale", "ana", until=until)
    assert environment.freeze("Holidays", "bob")
    before = environment.freezes.get(reason="Sale")
    assert (before.ended_at, before.ended_by_name) == (until, "")


def test_who_thaws_second_is_reported(environment: Environment) -> None:
    environment.freeze("Sale", "ana")
    assert environment.thaw("bob")
    assert not environment.thaw("eve")
    frozen = environment.freezes.get()
    assert frozen.ended_by_name == "bob"
    assert frozen.ended_at is not None


def test_what_has_expired_can_t_be_thawed(environment: Environment) -> None:
    environment.freeze("Sale", "ana", until=timezone.now() - HOUR)
    assert not environment.thaw("bob")
    assert environment.freezes.get().ended_by_name == ""


def test_two_open_ones_are_refused_by_the_database(environment: Environment) -> None:
    environment.freeze("Sale", "ana")
    with pytest.raises(IntegrityError):
        environment.freezes.create(reason="Holidays", frozen_by_name="bob")


def test_who_freezes_at_the_same_moment_does_not_win(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.freeze("Sale", "ana")
    # As if hers had come between the end of the one before and the new row.
    monkeypatch.setattr(FreezeQuerySet, "end", lambda self, by: False)
    assert not environment.freeze("Holidays", "bob")
    assert "frozen by ana" in environment.describe_freeze()


def test_the_history_outlives_the_account_and_goes_with_the_environment(
    environment: Environment,
) -> None:
    ana = User.objects.create_superuser("ana")
    environment.freeze("Sale", "ana", user=ana)
    ana.delete()
    frozen = environment.freezes.get()
    assert (frozen.frozen_by, frozen.frozen_by_name) == (None, "ana")
    environment.placements.all().delete()
    environment.delete()
    assert not Freeze.objects.exists()


def test_the_page_shows_the_history(environment: Environment) -> None:
    client = visitor("viewer")
    address = url("environment_change", environment.pk)
    assert "It was never frozen." in client.get(address).content.decode()
    environment.freeze("Sale <b>", "ana")
    environment.thaw("bob")
    environment.freeze("Exams", "cleo", until=timezone.now() - HOUR)
    environment.freeze("Holidays", "dan")
    page = client.get(address).content.decode()
    assert "Sale &lt;b&gt;" in page
    assert " by bob" in page
    assert "expired" in page
    assert "Holidays" in page


def test_the_list_asks_once_for_all_freezes(environment: Environment) -> None:
    client = visitor("owner")
    address = url("environment_changelist")

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert "dm-frozen" in client.get(address).content.decode()
        return len(queries)

    environment.freeze("Sale", "ana")
    client.get(address)
    few = count()
    for name in ("staging", "preview"):
        other = Environment.objects.create(
            project=environment.project, name=name, deploy_path=f"/srv/{name}"
        )
        other.freeze("Sale", "ana")
    assert count() == few


def test_what_was_fetched_before_is_asked_anew_after_a_change(environment: Environment) -> None:
    environment.open_freezes = []  # type: ignore[attr-defined]
    environment.freeze("Sale", "ana")
    assert environment.is_frozen
