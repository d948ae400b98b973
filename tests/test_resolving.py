"""Questions to the resolver: rows that one worker answers, whatever becomes of another."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.exceptions import PinError
from deploy_manager.models import Environment, Resolution
from deploy_manager.models.resolutions import LEASE, TAKEN_UP_AT_MOST
from deploy_manager.packages import resolutions as resolving
from deploy_manager.packages.resolutions import KEPT_FOR, WAKE_AGAIN_AFTER, ask, find_asked, take_up
from deploy_manager.reconcile import reconcile
from tests.inventory import Inventory
from tests.parts.admin import make_user, url, visitor
from tests.parts.index import Index
from tests.parts.sources import add_trap
from tests.resolutions import answer_all, post_and_wait

State = Resolution.State


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The questions that workers were told of."""
    told: list[int] = []

    def send(task: object, *keys: int, **options: object) -> str:
        assert task == "resolve"
        told.extend(keys)
        return ""

    monkeypatch.setattr(dispatch, "send", send)
    return told


@pytest.fixture
def owner() -> Client:
    return visitor("owner")


@pytest.fixture
def page(inventory: Inventory, package_index: Index) -> str:
    """The page that imports requirements."""
    package_index.add("paint", "1.0")
    Environment.objects.update(index_url=package_index.url)
    inventory.environment.refresh_from_db()
    return url("environment_requirements", inventory.environment.pk)


def asked_on(client: Client, page: str, text: str = "paint\n") -> Resolution:
    client.post(page, {"text": text, "lock": "on", "_preview": "1"})
    return Resolution.objects.get()


def seen(client: Client, page: str, asked: Resolution) -> str:
    return client.get(f"{page}?asked={asked.pk}", follow=True).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_page_that_asks_writes_a_row_and_shows_a_worker(
    owner: Client, page: str, told: list[int]
) -> None:
    asked = asked_on(owner, page)
    assert told == [asked.pk]
    assert (asked.state, asked.answer) == (State.QUEUED, None)


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_page_says_why_nobody_looks(
    owner: Client, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "send", lambda *args, **options: "nothing listens")
    asked = asked_on(owner, page)
    shown = seen(owner, page, asked)
    assert "queued: no worker has taken it yet" in shown
    assert "No worker could be woken: nothing listens" in shown


@pytest.mark.django_db
class TestThePage:
    def test_it_shows_how_far_a_worker_is(self, owner: Client, page: str) -> None:
        asked = asked_on(owner, page)
        assert "queued: no worker has taken it yet" in seen(owner, page, asked)
        held = Resolution.objects.claim(asked.pk)
        assert held
        assert "running for 0." in seen(owner, page, asked)
        held.fail("There is <none>.")
        shown = seen(owner, page, asked)
        assert "data-refresh" not in shown
        assert "There is &lt;none&gt;." in shown
        assert "paint" in shown, "what was typed is there to be mended"

    def test_it_can_be_loaded_again(self, owner: Client, page: str) -> None:
        asked = asked_on(owner, page)
        answer_all()
        for _ in range(2):
            assert "paint==1.0" in seen(owner, page, asked)

    def test_it_is_nobody_elses(self, owner: Client, page: str, inventory: Inventory) -> None:
        asked = asked_on(owner, page)
        answer_all()
        mate = make_user("mate", "change_environment", "view_environment")
        other = Client()
        other.force_login(mate)
        assert "has expired" in seen(other, page, asked)
        assert visitor("viewer").get(f"{page}?asked={asked.pk}").status_code == 403

    @pytest.mark.parametrize("number", ["0", "x", "9" * 30, "-1", "1.0", ""])
    def test_a_wrong_number_is_reported(self, owner: Client, page: str, number: str) -> None:
        shown = owner.get(page, {"asked": number}, follow=True).content.decode()
        assert "has expired" in shown

    def test_what_is_old_is_asked_again(self, owner: Client, page: str) -> None:
        asked = asked_on(owner, page)
        answer_all()
        Resolution.objects.update(created_at=timezone.now() - KEPT_FOR)
        assert "has expired" in seen(owner, page, asked)
        Resolution.objects.update(created_at=timezone.now() - 3 * KEPT_FOR)
        reconcile(lambda _shard: None)
        assert not Resolution.objects.exists()

    def test_no_version_is_written_that_was_not_shown(self, owner: Client, page: str) -> None:
        owner.post(page, {"text": "paint\n", "lock": "on", "_save": "1"})
        answer_all()
        assert not Environment.objects.get().requirements.exists()

    def test_what_only_uv_reads_is_left_to_a_worker(self, owner: Client, page: str) -> None:
        sent = {"text": "version = 1\n", "name": "uv.lock", "_preview": "1"}
        shown = post_and_wait(owner, page, sent).content.decode()
        assert "the pyproject.toml beside it, which is missing" in shown

    def test_bad_lines_are_shown_before_uv_is_asked(self, owner: Client, page: str) -> None:
        sent = {"text": "paint\n-e .\n", "lock": "on", "_preview": "1"}
        shown = post_and_wait(owner, page, sent).content.decode()
        assert "requirements.txt, line 2: -e ." in shown
        assert "Fix these lines" in shown
        shown = post_and_wait(owner, page, {**sent, "skip_bad": "on"}).content.decode()
        assert "Lines that are left out" in shown
        assert "paint==1.0" in shown

    def test_source_only_is_named_and_not_run(
        self, owner: Client, page: str, package_index: Index, tmp_path: Path
    ) -> None:
        marker = tmp_path / "marker"
        add_trap(package_index, "brush", "1.0", marker)
        sent = {"text": "brush\n", "lock": "on", "_preview": "1"}
        shown = post_and_wait(owner, page, sent).content.decode()
        assert "brush 1.0 has no wheel for Python 3." in shown
        assert "choose a builder on the environment" in shown
        assert not marker.exists()


@pytest.mark.django_db
class TestTheRow:
    @pytest.fixture
    def asked(self, inventory: Inventory) -> Resolution:
        said = {"text": "paint==1.0\n", "name": "", "commit": "", "lock": False, "skip_bad": False}
        user = make_user("asker", "change_environment")
        return ask(Resolution.Kind.PINS, [inventory.environment], said, user)

    def test_one_worker_answers_it_once(self, asked: Resolution) -> None:
        assert take_up(asked.pk)
        assert not take_up(asked.pk)
        asked.refresh_from_db()
        assert asked.state == State.SUCCEEDED
        assert asked.answer == {"pins": "paint==1.0\n", "problems": []}
        assert asked.finished_at

    def test_who_comes_second_goes_home(self, asked: Resolution) -> None:
        assert Resolution.objects.claim(asked.pk)
        assert Resolution.objects.claim(asked.pk) is None

    def test_a_silent_worker_is_replaced_and_can_write_nothing_more(
        self, asked: Resolution
    ) -> None:
        first = Resolution.objects.claim(asked.pk)
        fall_silent()
        second = Resolution.objects.claim(asked.pk)
        assert first
        assert second
        assert not any([first.beat(), first.succeed({}), first.fail("I am late.")])
        assert second.beat()
        assert second.succeed({"pins": "", "problems": []})

    def test_a_question_that_ends_its_workers_is_given_up(self, asked: Resolution) -> None:
        for _ in range(TAKEN_UP_AT_MOST):
            assert Resolution.objects.claim(asked.pk)
            fall_silent()
        assert Resolution.objects.claim(asked.pk) is None
        reconcile(lambda _shard: None)
        asked.refresh_from_db()
        assert asked.state == State.FAILED
        assert "Every worker that tried to answer it died" in asked.message

    def test_the_reconcile_shows_workers_again(self, asked: Resolution, told: list[int]) -> None:
        Resolution.objects.update(woken_at=timezone.now())
        assert "had questions answered" not in reconcile(lambda _shard: None)
        Resolution.objects.update(woken_at=timezone.now() - WAKE_AGAIN_AFTER - timedelta(seconds=1))
        assert reconcile(lambda _shard: None)["had questions answered"] == 1
        assert told == [asked.pk]

    def test_whatever_goes_wrong_is_reported(
        self, asked: Resolution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Resolution.objects.update(asked={})
        assert take_up(asked.pk)
        asked.refresh_from_db()
        assert asked.state == State.FAILED
        assert "This could not be worked out: KeyError('text')" in asked.message

    @pytest.mark.database
    def test_whatever_was_said_can_be_written(
        self, asked: Resolution, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object, **options: object) -> None:
            raise PinError("https://me:secret@index/ says \0 and \ud800.")

        monkeypatch.setattr(resolving, "find_pins", refuse)
        assert take_up(asked.pk)
        asked.refresh_from_db()
        assert asked.state == State.FAILED
        assert asked.message == "https://[masked]@index/ says \ufffd and ?."

    @pytest.mark.parametrize("lost", ["the right", "the account"])
    @pytest.mark.parametrize("kind", [Resolution.Kind.PINS, Resolution.Kind.UPGRADE])
    def test_rights_are_checked_again_by_the_worker(
        self, asked: Resolution, kind: str, lost: str
    ) -> None:
        user = asked.requested_by
        Resolution.objects.update(kind=kind)
        if lost == "the right":
            user.user_permissions.clear()
        else:
            User.objects.filter(pk=user.pk).update(is_active=False)
        assert take_up(asked.pk)
        asked.refresh_from_db()
        assert asked.state == State.FAILED
        assert "asker may no longer" in asked.message

    def test_an_environment_that_is_gone_is_reported(self, asked: Resolution) -> None:
        Resolution.objects.update(environments=[10**6])
        assert take_up(asked.pk)
        asked.refresh_from_db()
        assert "was deleted" in asked.message

    def test_it_is_answered_in_the_language_of_who_asks(self, asked: Resolution) -> None:
        Resolution.objects.update(environments=[10**6], language="xx-unknown")
        assert take_up(asked.pk)

    def test_only_who_asked_finds_it(self, asked: Resolution) -> None:
        owner = asked.requested_by
        assert find_asked(Resolution.Kind.PINS, str(asked.pk), owner) == asked
        assert find_asked(Resolution.Kind.UPGRADE, str(asked.pk), owner) is None
        assert find_asked(Resolution.Kind.PINS, str(asked.pk), make_user("other")) is None


@pytest.mark.django_db(transaction=True)
def test_a_worker_beats_while_the_resolver_thinks(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is made old while it works, and it says that it is not."""

    def answer(held: Resolution) -> dict[str, str]:
        fall_silent()
        until = time.monotonic() + 10
        while Resolution.objects.silent().exists() and time.monotonic() < until:
            time.sleep(0.02)
        return {"silent": str(Resolution.objects.silent().exists())}

    monkeypatch.setattr(resolving, "BEATS_EVERY", 0.05)
    monkeypatch.setitem(resolving._answers, Resolution.Kind.PINS, answer)
    asked = ask(Resolution.Kind.PINS, [inventory.environment], {}, make_user("asker"))
    assert take_up(asked.pk)
    asked.refresh_from_db()
    assert asked.answer == {"silent": "False"}


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_the_database_did_not_take_is_not_the_last_one(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat, beats = Resolution.beat, list[bool]()

    def be_away_once(held: Resolution) -> bool:
        beats.append(True)
        if len(beats) == 1:
            raise OperationalError("gone")
        return beat(held)

    def answer(held: Resolution) -> dict[str, str]:
        until = time.monotonic() + 10
        while len(beats) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        return {}

    monkeypatch.setattr(resolving, "BEATS_EVERY", 0.05)
    monkeypatch.setattr(Resolution, "beat", be_away_once)
    monkeypatch.setitem(resolving._answers, Resolution.Kind.PINS, answer)
    assert take_up(ask(Resolution.Kind.PINS, [inventory.environment], {}, make_user("asker")).pk)
    assert len(beats) >= 3


def fall_silent() -> None:
    Resolution.objects.update(beat_at=timezone.now() - LEASE - timedelta(seconds=1))
