"""What a worker wrote is read in the reader's language, and found by its reason."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import translation
from django.utils.translation import gettext_noop
from pytest_django import Settings

from deploy_manager.deployments import notifying
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import CommandFailed
from deploy_manager.messages import Message
from deploy_manager.models import Deployment, HostRun, Server, State, Step, Upgrade
from tests.commands import Worker, call_and_fail, events
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment

pytestmark = pytest.mark.django_db(transaction=True)

ENGLISH, FRENCH = "refuses connections: check that", "refuse les connexions : vérifiez que"


@pytest.fixture
def unreachable(inventory: Inventory, ssh_settings: Settings) -> Deployment:
    """A deployment that failed, since its only server refuses connections."""
    make_unreachable()
    with translation.override("fr"):  # the language of whoever runs it says nothing of the readers
        deployment = inventory.request("ping")
        run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    return deployment


def make_unreachable() -> None:
    """Let the only server be one where nothing listens."""
    Server.objects.update(
        connection=Server.Connection.SSH,
        address="127.0.0.1",
        port=1,
        user="shop",
        host_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPhy4eOwqPKlLjHVsmQxwOOVFyyK4fpjIjN7wPOmFDuT",
    )


def read(client: Client, address: str, language: str) -> str:
    answer = client.get(address, headers={"accept-language": language})
    assert answer.status_code == 200
    return str(answer.content.decode())


@pytest.fixture
def owner(db: None) -> Client:
    return visitor("owner")


@pytest.mark.parametrize(("language", "words"), [("en", ENGLISH), ("fr", FRENCH)])
def test_the_page_and_its_news_are_in_the_language_of_the_reader(
    unreachable: Deployment, owner: Client, language: str, words: str
) -> None:
    page = read(owner, url("deployment_change", unreachable.pk), language)
    assert page.count(words) == 3  # the deployment, its server, its step
    news = json.loads(read(owner, url("deployment_progress", unreachable.pk), language))
    for row in (news["deployment"], *news["hosts"], *news["steps"]):
        assert words in row["message"]


def test_every_row_has_the_reason(unreachable: Deployment) -> None:
    for rows in (Deployment.objects, HostRun.objects, Step.objects):
        assert rows.filter(message__0__code="host_unreachable").exists()


@pytest.mark.database
def test_the_list_is_filtered_by_the_reasons_that_occur(
    unreachable: Deployment, inventory: Inventory, owner: Client
) -> None:
    cancelled = Message(gettext_noop("Cancelled by %(who)s."), "cancelled", who="ana")
    other = write_deployment(inventory.environment, state=State.CANCELLED, message=cancelled)
    write_deployment(inventory.environment, state=State.SUCCEEDED)
    page = read(owner, url("deployment_changelist"), "fr")
    assert "?reason=host_unreachable" in page
    assert "Serveur injoignable" in page
    assert "?reason=cancelled" in page
    assert "server_busy" not in page
    found = read(owner, url("deployment_changelist", reason="cancelled"), "en")
    assert url("deployment_change", other.pk) in found
    assert url("deployment_change", unreachable.pk) not in found
    assert read(owner, url("deployment_changelist", reason="'); DROP"), "en")


def test_the_list_of_upgrades_is_filtered_too(inventory: Inventory, owner: Client) -> None:
    why = Message(gettext_noop("Cancelled by %(who)s."), "cancelled", who="ana")
    Upgrade.objects.create(requested_by_name="me", source="admin", wanted=[], message=why)
    Upgrade.objects.create(requested_by_name="me", source="admin", wanted=[])
    assert "?reason=cancelled" in read(owner, url("upgrade_changelist"), "en")
    found = read(owner, url("upgrade_changelist", reason="cancelled"), "en")
    assert "1 upgrade" in found


def test_programs_get_the_text_and_the_reasons(
    inventory: Inventory, ssh_settings: Settings, worker: Worker
) -> None:
    make_unreachable()
    code, printed = call_and_fail("recipe", "production", "ping", "--json")
    told = events(printed)
    assert code == 1
    for event in ("summary", "host", "step"):
        last = [each for each in told if each["event"] == event][-1]
        assert ENGLISH in last["message"]
        assert last["reason"] == ["host_unreachable"]


def test_a_refusal_has_its_reason(inventory: Inventory) -> None:
    inventory.environment.freeze("Exams", "boss")
    out = StringIO()
    with pytest.raises(CommandError, match="frozen by boss"):
        call_command("recipe", "production", "activate", "--json", stdout=out)
    assert events(out.getvalue())[-1]["reason"] == ["request_refused"]


def test_a_notification_is_in_the_language_of_the_site(
    unreachable: Deployment, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(notifying, "send", lambda *words: sent.append(words))
    unreachable.environment.notifications.create(target="team", states=["failed"])
    settings.LANGUAGE_CODE = "fr"
    with translation.override("en"):
        notifying.send_notifications(unreachable.pk)
    ((_target, title, text),) = sent
    assert "échoué" in title
    assert FRENCH in text


def test_what_a_server_says_stays_as_it_said_it(inventory: Inventory) -> None:
    deployment = write_deployment(inventory.environment)
    error = CommandFailed("100 % of %(disk)s is full: %s", exit_code=1)
    Deployment.objects.update(message=error.message)
    deployment.refresh_from_db()
    assert deployment.message == "100 % of %(disk)s is full: %s"
