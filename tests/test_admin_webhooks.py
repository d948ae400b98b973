"""Webhooks on their pages: secrets for who may have them, owners, deliveries, and no way around."""

from base64 import b64encode
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from deploy_manager.models import (
    AuditEvent,
    Environment,
    IncomingWebhook,
    OutgoingDelivery,
    OutgoingWebhook,
    Project,
)
from deploy_manager.sealing import Secret
from tests.inventory import Inventory
from tests.owners import person
from tests.parts.admin import make_user, url, write_deployment
from tests.test_secret_variables import form_of

pytestmark = pytest.mark.django_db

KEEPER = ("add_incomingwebhook", "change_incomingwebhook", "view_environment")
SIGNS = "whsec_" + b64encode(bytes(range(32))).decode()


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def admin(db: None) -> Client:
    return log_in(make_user("ana", superuser=True))


def sent(inventory: Inventory, **changes: Any) -> dict[str, Any]:
    return {
        "project": inventory.environment.project_id,
        "name": "from-github",
        "kind": "github",
        "environments": [inventory.environment.pk],
        "is_enabled": "on",
        **changes,
    }


def make(inventory: Inventory, kind: str = "github") -> IncomingWebhook:
    webhook = IncomingWebhook(project=inventory.environment.project, name="hook", kind=kind)
    webhook.give_to(make_user("owner", superuser=True))
    webhook.save()
    webhook.environments.add(inventory.environment)
    return webhook


def text(client: Client, where: str) -> str:
    answer = client.get(where)
    assert answer.status_code == 200
    return answer.content.decode()


def test_whoever_adds_one_owns_it_and_sees_its_secret(inventory: Inventory, admin: Client) -> None:
    answer = admin.post(url("incomingwebhook_add"), sent(inventory))
    assert answer.status_code == 302
    webhook = IncomingWebhook.objects.get()
    assert webhook.owner_name == "ana"
    assert list(webhook.environments.all()) == [inventory.environment]
    page = text(admin, url("incomingwebhook_change", webhook.pk))
    assert f"http://testserver/deploy/webhooks/{webhook.key}/" in page
    assert webhook.secrets()[0] in page
    changes = AuditEvent.objects.filter(kind="incomingwebhook", action="changed")
    assert {"environments": ["shop/production"]} in [each.after for each in changes]


def test_a_gitlab_gets_a_signing_token_as_well(inventory: Inventory, admin: Client) -> None:
    webhook = make(inventory, "gitlab")
    assert "whsec_" in text(admin, url("incomingwebhook_change", webhook.pk))


def test_who_may_not_deploy_there_sees_no_secret_and_changes_nothing(inventory: Inventory) -> None:
    webhook = make(inventory)
    keeper = log_in(person("kim", *KEEPER))
    page = text(keeper, url("incomingwebhook_change", webhook.pk))
    assert webhook.secrets()[0] not in page
    assert str(webhook.key) not in page
    for name, keys in (("change", ()), ("renew", ()), ("own", ("take-over",))):
        answer = keeper.post(url(f"incomingwebhook_{name}", webhook.pk, *keys), sent(inventory))
        assert answer.status_code == 403
    webhook.refresh_from_db()
    assert (webhook.owner_name, webhook.secret_version) == ("owner", 1)


def test_nor_does_who_may_not_report_what_it_reports(inventory: Inventory) -> None:
    webhook = make(inventory)
    webhook.environments.clear()
    keeper = person("kim", *KEEPER, "view_project")
    assert webhook.secrets()[0] not in text(
        log_in(keeper), url("incomingwebhook_change", webhook.pk)
    )
    assert log_in(keeper).post(url("incomingwebhook_renew", webhook.pk)).status_code == 403
    reporter = person("ray", *KEEPER, "view_project", "add_commitstatus")
    assert webhook.secrets()[0] in text(log_in(reporter), url("incomingwebhook_change", webhook.pk))


def test_nobody_offers_an_environment_that_they_may_not_deploy(inventory: Inventory) -> None:
    keeper = log_in(person("kim", *KEEPER, "view_project"))
    answer = keeper.post(url("incomingwebhook_add"), sent(inventory))
    assert answer.status_code == 200
    assert answer.context is not None
    assert "environments" in answer.context["adminform"].form.errors
    assert not IncomingWebhook.objects.exists()


def test_an_environment_of_another_project_is_refused(inventory: Inventory, admin: Client) -> None:
    other = Project.objects.create(name="other", repository="/nowhere/other.git")
    site = Environment.objects.create(project=other, name="x", deploy_path="/srv/x")
    answer = admin.post(url("incomingwebhook_add"), sent(inventory, environments=[site.pk]))
    assert "These belong to another project: other/x." in answer.content.decode()


def test_a_renewed_secret_is_another_one_and_is_audited(
    inventory: Inventory, admin: Client
) -> None:
    webhook = make(inventory)
    before = webhook.secrets()[0]
    assert admin.get(url("incomingwebhook_renew", webhook.pk)).status_code == 405
    assert admin.post(url("incomingwebhook_renew", webhook.pk)).status_code == 302
    webhook.refresh_from_db()
    assert webhook.secrets()[0] != before
    event = AuditEvent.objects.filter(kind="incomingwebhook").latest("pk")
    assert (event.before, event.after) == ({"secret": "no. 1"}, {"secret": "no. 2"})
    assert before not in str([*AuditEvent.objects.values_list("before", "after")])


def test_one_without_an_owner_is_taken_over(inventory: Inventory, admin: Client) -> None:
    webhook = make(inventory)
    User.objects.filter(username="owner").delete()
    page = text(admin, url("incomingwebhook_change", webhook.pk))
    assert "hook is paused:" in page
    shown = page.partition('name="shown" value="')[2].partition('"')[0]
    address = url("incomingwebhook_own", webhook.pk, "take-over")
    assert admin.post(address, {"shown": "another"}).status_code == 302
    webhook.refresh_from_db()
    assert webhook.owner_name == "owner"
    admin.post(address, {"shown": shown})
    webhook.refresh_from_db()
    assert (webhook.owner_name, str(webhook.paused)) == ("ana", "")


def test_what_came_is_shown_with_its_outcome(inventory: Inventory, admin: Client) -> None:
    webhook = make(inventory)
    webhook.deliveries.create(
        delivery="<b>1", event="push", commit="c0ffee00" * 5, outcome="Nothing <i>to do"
    )
    page = text(admin, url("incomingwebhook_change", webhook.pk))
    for words in ("c0ffee00", "Nothing &lt;i&gt;to do", "&lt;b&gt;1"):
        assert words in page


# Outgoing ones, on the page of an environment


def outgoing(environment: Environment, **changes: Any) -> dict[str, str]:
    number = changes.pop("number", 0)
    fields = {
        "name": "chat",
        "form": "standard",
        "url": "https://hooks.example.org/1",
        "new_secret": SIGNS,
        "states": ["failed"],
        "is_enabled": "on",
        **changes,
    }
    return {f"outgoing_webhooks-{number}-{name}": value for name, value in fields.items()}


def save(client: Client, environment: Environment, **changes: Any) -> Any:
    data = form_of(client, environment)
    known = environment.outgoing_webhooks.first()
    more = outgoing(environment, **changes)
    if known is None:
        data["outgoing_webhooks-TOTAL_FORMS"] = "1"
    return client.post(url("environment_change", environment.pk), {**data, **more})


def test_an_outgoing_webhook_is_added_and_its_secret_never_shown(
    inventory: Inventory, admin: Client
) -> None:
    assert save(admin, inventory.environment).status_code == 302
    webhook = OutgoingWebhook.objects.get()
    assert (webhook.name, webhook.states) == ("chat", ["failed"])
    webhook.refresh_from_db()
    assert webhook.secret is not None
    assert webhook.secret.open() == Secret(SIGNS)
    assert SIGNS not in text(admin, url("environment_change", inventory.environment.pk))
    event = AuditEvent.objects.filter(kind="outgoingwebhook").latest("pk")
    assert SIGNS not in str(event.after)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"new_secret": ""}, "Enter its secret."),
        ({"new_secret": "hunter2-hunter2"}, "has to be whsec_"),
        ({"url": "file:///etc/passwd"}, "Enter an address like https://example.org/hook"),
    ],
)
def test_what_can_not_be_sent_is_refused(
    inventory: Inventory, admin: Client, changes: dict[str, str], why: str
) -> None:
    answer = save(admin, inventory.environment, **changes)
    assert answer.status_code == 200
    assert why in answer.content.decode()
    assert not OutgoingWebhook.objects.exists()


def test_a_secret_is_not_sent_to_another_address_than_it_was_entered_for(
    inventory: Inventory, admin: Client
) -> None:
    save(admin, inventory.environment)
    answer = save(admin, inventory.environment, url="https://evil.example.org/", new_secret="")
    assert "Enter the secret again, as it would be sent elsewhere." in answer.content.decode()
    assert OutgoingWebhook.objects.get().url == "https://hooks.example.org/1"
    # What else is changed keeps it.
    assert save(admin, inventory.environment, new_secret="", states=["lost"]).status_code == 302
    webhook = OutgoingWebhook.objects.get()
    assert webhook.states == ["lost"]
    assert webhook.secret.open() == Secret(SIGNS)  # type: ignore[union-attr]


def test_the_last_deliveries_are_shown(inventory: Inventory, admin: Client) -> None:
    save(admin, inventory.environment)
    webhook = OutgoingWebhook.objects.get()
    deployment = write_deployment(inventory.environment)
    OutgoingDelivery.objects.all().delete()
    webhook.deliveries.create(deployment=deployment, problem="It answered <500>.", next_at=None)
    page = text(admin, url("environment_change", inventory.environment.pk))
    assert "It answered &lt;500&gt;." in page


def test_the_page_of_a_deployment_links_its_notes(inventory: Inventory, admin: Client) -> None:
    deployment = write_deployment(inventory.environment)
    where = url("deployment_notes", deployment.pk)
    assert where in text(admin, url("deployment_change", deployment.pk))
    answer = admin.get(where)
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert f"#{deployment.pk}" in answer.content.decode().replace("\\", "")
