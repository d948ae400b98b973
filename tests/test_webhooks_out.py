"""Outgoing webhooks arrive signed, again and again until they do; no secret is written down."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook

from deploy_manager import dispatch
from deploy_manager.deployments import announcing
from deploy_manager.deployments.announcing import PAUSES, deliver, keep_announcing, note_end
from deploy_manager.exceptions import WebhookFailed
from deploy_manager.models import (
    Deployment,
    OutgoingDelivery,
    OutgoingWebhook,
    Problem,
    State,
)
from deploy_manager.notifications import webhooks
from deploy_manager.notifications.webhooks import calls_for, key_of
from deploy_manager.reconcile import JOBS
from deploy_manager.sealing import Secret
from tests.inventory import Inventory
from tests.overrides import HeldSite
from tests.parts.admin import write_deployment
from tests.parts.matrices import few
from tests.parts.processes import free_port
from tests.parts.receivers import Inbox, Receiver, Silence, receiving
from tests.parts.served import wait_until
from tests.parts.worker import StartWorker

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "whsec_" + b64encode(b"hunter2-" * 4).decode()
TOKEN = "sntrys-hunter2-0123456789"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    with receiving(Inbox) as receiver:
        yield receiver


def make(
    inventory: Inventory, port: int, form: str = "standard", path: str = "/hook", **fields: Any
) -> OutgoingWebhook:
    secret = Secret(SECRET if form == "standard" else TOKEN)
    webhook = OutgoingWebhook.objects.create(
        environment=inventory.environment,
        name=fields.pop("name", form),
        form=form,
        url=f"http://127.0.0.1:{port}{path}",
        secret=secret,
        **fields,
    )
    webhook.full_clean()
    return webhook


def ended(inventory: Inventory, state: State = State.SUCCEEDED) -> Deployment:
    """A deployment that ended just now, of which nobody was told."""
    made = write_deployment(inventory.environment, state=state)
    Deployment.objects.filter(pk=made.pk).update(finished_at=timezone.now())
    made.refresh_from_db()
    OutgoingDelivery.objects.all().delete()
    return made


def one(deployment: Deployment) -> OutgoingDelivery:
    (delivery,) = note_end(deployment)
    return delivery


def due_again(delivery: OutgoingDelivery) -> None:
    OutgoingDelivery.objects.filter(pk=delivery.pk).update(next_at=timezone.now())


def test_a_message_is_signed_as_the_standard_has_it(inventory: Inventory, inbox: Receiver) -> None:
    make(inventory, inbox.port)
    deployment = ended(inventory)
    delivery = one(deployment)
    assert deliver(delivery.pk)
    (told,) = inbox.told
    data = Webhook(SECRET).verify(told["body"], told["headers"])
    assert data["type"] == "deployment.succeeded"
    assert data["data"]["number"] == deployment.pk
    assert data["data"]["environment"] == "shop/production"
    assert data["data"]["servers"] == [{"name": "one", "state": "succeeded"}]
    assert told["headers"]["webhook-id"] == str(delivery.key)
    delivery.refresh_from_db()
    assert delivery.delivered_at is not None
    assert delivery.next_at is None
    assert not deliver(delivery.pk)  # once
    assert len(inbox.told) == 1


@pytest.mark.parametrize("status", few(500, 404, 302))
def test_what_is_not_accepted_is_sent_again_with_the_same_key(
    inventory: Inventory, inbox: Receiver, status: int
) -> None:
    make(inventory, inbox.port)
    delivery = one(ended(inventory))
    inbox.status = status
    assert not deliver(delivery.pk)
    delivery.refresh_from_db()
    assert delivery.attempts == 1
    assert str(status) in delivery.problem or "redirects" in delivery.problem
    assert delivery.next_at is not None
    assert delivery.next_at - timezone.now() <= PAUSES[0]
    assert not deliver(delivery.pk)  # it is not due yet
    assert [each["path"] for each in inbox.told] == ["/hook"]  # no redirect was followed
    assert "(standard), #" in str(Problem.objects.get().text)
    due_again(delivery)
    inbox.status = 204
    assert deliver(delivery.pk)
    first, second = (each["headers"]["webhook-id"] for each in inbox.told)
    assert first == second
    assert not Problem.objects.exists()
    delivery.refresh_from_db()
    assert not delivery.problem


def test_one_that_never_answers_is_left(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUTS", (1.0, 0.3))
    with receiving(Silence) as receiver:
        make(inventory, receiver.port)
        delivery = one(ended(inventory))
        assert not deliver(delivery.pk)
    delivery.refresh_from_db()
    assert "can't be reached: ReadTimeout" in delivery.problem


def test_the_pauses_grow_until_it_is_given_up(inventory: Inventory) -> None:
    make(inventory, free_port())
    delivery = one(ended(inventory))
    pauses = []
    for _attempt in range(len(PAUSES) + 1):
        due_again(delivery)
        deliver(delivery.pk)
        delivery.refresh_from_db()
        if delivery.next_at:
            pauses.append(delivery.next_at - timezone.now())
    assert len(pauses) == len(PAUSES)
    assert pauses == sorted(pauses)
    assert pauses[0] <= timedelta(seconds=5)
    assert timedelta(hours=23) < pauses[-1] <= timedelta(hours=24)
    assert delivery.next_at is None
    assert delivery.problem.startswith("Given up: ")
    keep_announcing()
    assert Problem.objects.filter(job=announcing.SENT).exists()


def test_nothing_that_is_written_down_has_the_secret_or_the_address(
    inventory: Inventory, inbox: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.status = 403
    make(inventory, inbox.port, path=f"/hook/{TOKEN}")
    make(inventory, free_port(), "grafana", path=f"/{TOKEN}")
    for delivery in note_end(ended(inventory)):
        deliver(delivery.pk)
    kept = [str(each.problem) for each in OutgoingDelivery.objects.all()]
    kept += [str(each.text) for each in Problem.objects.all()]
    assert len(kept) == 4
    for text in (*kept, caplog.text):
        assert SECRET not in text
        assert TOKEN not in text
        assert str(inbox.port) not in text


def test_the_secret_is_stored_sealed(inventory: Inventory, inbox: Receiver) -> None:
    webhook = make(inventory, inbox.port)
    webhook.refresh_from_db()
    assert SECRET not in repr(webhook.secret)
    assert "whsec" not in str(OutgoingWebhook.objects.values_list("secret", flat=True)[0])


def test_only_the_ends_that_it_asked_for_are_told(inventory: Inventory, inbox: Receiver) -> None:
    make(inventory, inbox.port, states=["failed"])
    make(inventory, inbox.port, "sentry", states=["succeeded"])
    make(inventory, inbox.port, name="off", is_enabled=False)
    assert not note_end(ended(inventory))  # what brought no release is no release of Sentry
    assert [each.webhook.name for each in note_end(ended(inventory, State.FAILED))] == ["standard"]


def test_an_end_is_told_once_whoever_notes_it(inventory: Inventory, inbox: Receiver) -> None:
    make(inventory, inbox.port)
    deployment = ended(inventory)
    assert len(note_end(deployment)) == 1
    assert not note_end(deployment)


def test_the_end_of_a_deployment_wakes_a_worker(
    inventory: Inventory, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, tuple[int, ...]]] = []

    def send(task: str, *keys: int, **_options: object) -> str:
        sent.append((task, keys))
        return ""

    monkeypatch.setattr(dispatch, "send", send)
    make(inventory, inbox.port, states=["failed"])
    inventory.request("ping").end(State.FAILED)
    (delivery,) = OutgoingDelivery.objects.all()
    assert ("announce", (delivery.pk,)) in sent


def test_reconcile_makes_up_for_an_end_that_nobody_noted(
    inventory: Inventory, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr(
        dispatch, "send", lambda task, *keys, **_: woken.extend(keys) if task == "announce" else ""
    )
    make(inventory, inbox.port)
    ended(inventory)
    JOBS[announcing.JOB](lambda shard: None)
    (delivery,) = OutgoingDelivery.objects.all()
    assert woken == [delivery.pk]


def test_a_webhook_is_told_of_nothing_that_ended_before_it_was_made(inventory: Inventory) -> None:
    deployment = ended(inventory)
    make(inventory, free_port())
    keep_announcing()
    assert note_end(deployment) == []
    assert not OutgoingDelivery.objects.exists()


def test_a_worker_that_died_while_sending_is_made_up_for(
    inventory: Inventory, inbox: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(inventory, inbox.port)
    delivery = one(ended(inventory))

    def die(*_arguments: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(announcing, "_send", die)
        with pytest.raises(SystemExit):
            deliver(delivery.pk)
    assert not deliver(delivery.pk)  # nobody knows yet that it died
    due_again(delivery)
    assert deliver(delivery.pk)


def test_one_receiver_does_not_hold_up_another(inventory: Inventory, inbox: Receiver) -> None:
    make(inventory, free_port(), name="away")
    broken = make(inventory, inbox.port, name="broken")
    OutgoingWebhook.objects.filter(pk=broken.pk).update(url="file:///etc/passwd", form="x")
    make(inventory, inbox.port, name="well")
    arrived = [deliver(each.pk) for each in note_end(ended(inventory))]
    assert arrived == [False, False, True]


@pytest.mark.parametrize("secret", few("hunter2", "whsec_", "whsec_é", "whsec_" + "A" * 8))
def test_a_secret_that_can_sign_nothing_is_said(secret: str) -> None:
    with pytest.raises(WebhookFailed, match="has to be whsec_") as refusal:
        key_of(secret)
    assert secret == "whsec_" or secret not in str(refusal.value)


# Sentry and Grafana


def test_sentry_gets_the_release_with_its_commits_and_the_deploy(
    held: HeldSite, inbox: Receiver
) -> None:
    held.deploy()
    path = "/api/0/organizations/acme/?project=shop&project=api"
    make(held.inventory, inbox.port, "sentry", path)
    after = held.repository.commit("Show the stock", {"made.txt": "1"})
    deployment = held.deploy()
    (delivery,) = OutgoingDelivery.objects.all()
    assert deliver(delivery.pk)
    release, deploy = inbox.told
    assert release["path"] == "/api/0/organizations/acme/releases/"
    assert deploy["path"] == f"/api/0/organizations/acme/releases/{after}/deploys/"
    for each in inbox.told:
        assert each["headers"]["Authorization"] == f"Bearer {TOKEN}"
        assert each["headers"]["Content-Type"] == "application/json"
    said = json.loads(release["body"])
    assert said["version"] == after
    assert said["projects"] == ["shop", "api"]
    (commit,) = said["commits"]
    assert (commit["id"], commit["message"], commit["author_name"]) == (
        after,
        "Show the stock",
        "Shop",
    )
    said = json.loads(deploy["body"])
    assert said["environment"] == "production"
    assert said["name"] == f"shop/production: deploy #{deployment.pk} succeeded"
    assert said["dateStarted"] < said["dateFinished"]


def test_an_address_of_sentry_without_a_project_is_said(
    inventory: Inventory, inbox: Receiver
) -> None:
    ended_ = announcing.facts_of(ended(inventory))
    with pytest.raises(WebhookFailed, match=r"names no project"):
        calls_for("sentry", "https://sentry.io/api/0/organizations/acme/", TOKEN, "1", ended_)


def test_grafana_gets_an_annotation(inventory: Inventory, inbox: Receiver) -> None:
    make(inventory, inbox.port, "grafana", "/grafana/")
    deployment = ended(inventory, State.FAILED)
    assert deliver(one(deployment).pk)
    (told,) = inbox.told
    assert told["path"] == "/grafana/api/annotations"
    assert told["headers"]["Authorization"] == f"Bearer {TOKEN}"
    said = json.loads(told["body"])
    assert said["tags"] == ["deployment", "shop/production", deployment.recipe, "failed"]
    assert said["text"].startswith(f"shop/production: {deployment.recipe} #{deployment.pk} failed")
    assert said["time"] <= said["timeEnd"]
    assert abs(said["timeEnd"] / 1000 - timezone.now().timestamp()) < 60


def test_the_notes_come_with_signed_json(held: HeldSite, inbox: Receiver) -> None:
    held.deploy()
    make(held.inventory, inbox.port)
    held.repository.commit("Show the <b>stock</b>", {"made.txt": "1"})
    held.deploy()
    assert deliver(OutgoingDelivery.objects.get().pk)
    data = json.loads(inbox.told[0]["body"])["data"]
    assert [each["subject"] for each in data["commits"]] == ["Show the <b>stock</b>"]
    assert r"Show the \<b\>stock\</b\>" in data["notes"]
    assert data["previous_commit"] != data["commit"]


@pytest.mark.workers
def test_a_worker_that_carried_it_out_has_it_told(
    inventory: Inventory, inbox: Receiver, embedded_broker: None, start_worker: StartWorker
) -> None:
    make(inventory, inbox.port)
    start_worker()
    deployment = dispatch.request(
        inventory.environment, "ping", source="manage.py", requested_by_name="me@here"
    )
    wait_until(lambda: bool(inbox.told))
    data = Webhook(SECRET).verify(inbox.told[0]["body"], inbox.told[0]["headers"])["data"]
    assert (data["number"], data["recipe"], data["state"]) == (deployment.pk, "ping", "succeeded")
