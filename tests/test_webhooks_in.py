"""A push deploys once, in the owner's name; what is not genuine has one answer."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from deploy_manager import dispatch
from deploy_manager.models import (
    CommitStatus,
    Deployment,
    Environment,
    IncomingWebhook,
    Project,
    State,
    WebhookDelivery,
)
from deploy_manager.webhooks import limits, views
from tests.forges import body_of, payload, sign, sign_as_gitlab
from tests.inventory import Inventory
from tests.owners import owner, person
from tests.parts.matrices import few

pytestmark = pytest.mark.django_db(transaction=True)

ZEROS = "0" * 40


def commit(number: int) -> str:
    return f"{number:040x}".replace("0", "a", 1)


@dataclass
class Hook:
    """A webhook of a forge, which deploys `shop/production`."""

    webhook: IncomingWebhook
    environment: Environment
    woken: list[int] = field(default_factory=list)

    def send(self, body: bytes, headers: dict[str, str], key: uuid.UUID | None = None) -> Any:
        address = reverse("deploy_manager:webhook", args=[key or self.webhook.key])
        return Client().generic("POST", address, body, headers["Content-Type"], headers=headers)

    def deliver(self, name: str, data: Any, key: str = "") -> Any:
        body = body_of(data)
        return self.send(body, sign(name, body, self.webhook.secrets()[0], key))

    def push(self, after: str, before: str = ZEROS, key: str = "", **more: Any) -> str:
        """Push a commit, and return what came of it."""
        name = f"{self.webhook.kind}_push"
        data = payload(name, after=after, before=before, commits=[], **more)
        return outcome(self.deliver(name, data, key))

    def deployments(self) -> list[Deployment]:
        return list(Deployment.objects.order_by("pk"))


def outcome(answer: Any) -> str:
    assert answer.status_code == 202, answer.content
    return str(json.loads(answer.content)["outcome"])


@pytest.fixture(autouse=True)
def fresh_limits() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def hook(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> Hook:
    return make_hook(inventory, monkeypatch)


def make_hook(inventory: Inventory, monkeypatch: pytest.MonkeyPatch, kind: str = "github") -> Hook:
    site = inventory.environment
    Environment.objects.filter(pk=site.pk).update(ref="main")
    site.refresh_from_db()
    webhook = IncomingWebhook(project=site.project, name=f"from-{kind}", kind=kind)
    webhook.give_to(owner())
    webhook.save()
    webhook.environments.add(site)
    made = Hook(webhook, site)
    monkeypatch.setattr("deploy_manager.webhooks.deliveries.wake", lambda pk: made.woken.append(pk))
    return made


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_a_push_requests_a_deployment_of_its_commit(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    hook = make_hook(inventory, monkeypatch, kind)
    said = hook.push(commit(1))
    (made,) = hook.deployments()
    assert (made.commit, made.ref, made.source, made.recipe) == (
        commit(1),
        "main",
        "webhook",
        "deploy",
    )
    assert made.requested_by == owner()
    assert made.requested_by_name == f"owner (webhook from-{kind})"
    assert made.webhook == hook.webhook
    assert made.reason.startswith("push to main by ")
    assert hook.woken == [made.pk]
    assert f"#{made.pk} deploys {commit(1)[:8]}" in said
    (delivery,) = WebhookDelivery.objects.all()
    assert (delivery.commit, str(delivery.outcome)) == (commit(1), said)


def test_it_waits_for_a_day_at_most(hook: Hook) -> None:
    hook.push(commit(1))
    (made,) = hook.deployments()
    assert made.waits
    assert made.deadline is not None
    assert timedelta(hours=23) < made.deadline - timezone.now() <= timedelta(hours=24)


def test_a_replay_is_answered_as_the_first_and_runs_nothing(hook: Hook) -> None:
    first = hook.push(commit(1), key="one")
    Deployment.objects.update(state=State.FAILED, finished_at=timezone.now())
    assert hook.push(commit(1), key="one") == first
    # Also if the environment follows another branch by now.
    Environment.objects.update(ref="other")
    assert hook.push(commit(1), key="one") == first
    assert len(hook.deployments()) == 1
    assert WebhookDelivery.objects.count() == 1


def test_a_replay_under_another_name_deploys_no_commit_twice(hook: Hook) -> None:
    """GitHub and Gitea do not sign the name of a delivery."""
    hook.push(commit(1), key="one")
    Deployment.objects.update(state=State.SUCCEEDED, finished_at=timezone.now())
    assert "was requested already as #" in hook.push(commit(1), key="two")
    assert len(hook.deployments()) == 1


def test_a_newer_push_takes_the_place_of_one_that_waits(hook: Hook) -> None:
    hook.push(commit(1))
    hook.push(commit(2), before=commit(1))
    said = hook.push(commit(3), before=commit(2))
    first, second, third = hook.deployments()
    assert (first.state, third.state) == (State.QUEUED, State.WAITING)
    assert second.state == State.CANCELLED
    assert f"Overtaken by a newer push: #{third.pk} deploy shop/production." in second.message
    assert "It waits: shop/production is busy" in said


def test_what_is_pushed_elsewhere_or_deleted_deploys_nothing(hook: Hook) -> None:
    for change, why in (
        ({"ref": "refs/heads/feature"}, "none of its environments follows the branch feature"),
        ({"ref": "refs/tags/main"}, "refs/tags/main is not a branch"),
        ({"after": ZEROS, "deleted": True}, "the branch main was deleted"),
        ({"ref": "refs/heads/$(reboot)"}, "a name that git would not take"),
    ):
        answer = hook.deliver("github_push", payload("github_push", **change))
        assert why in outcome(answer)
    assert not hook.deployments()
    assert WebhookDelivery.objects.count() == 4


def test_an_environment_that_was_moved_to_another_project_is_not_deployed(hook: Hook) -> None:
    other = Project.objects.create(name="other", repository="/nowhere/other.git")
    Environment.objects.update(project=other)
    assert "none of its environments follows" in hook.push(commit(1))


@pytest.mark.parametrize("how", ["gone", "inactive", "without the right"])
def test_without_an_owner_who_may_it_is_paused(hook: Hook, how: str) -> None:
    limited = person("ann", "deploy_environment")
    IncomingWebhook.objects.update(owner=limited, owner_name="ann")
    assert " deploys " in hook.push(commit(1))
    if how == "gone":
        limited.delete()
    elif how == "inactive":
        User.objects.filter(pk=limited.pk).update(is_active=False)
    else:
        limited.user_permissions.clear()
    said = hook.push(commit(2))
    assert said.startswith("Paused. ann, its owner, ")
    assert len(hook.deployments()) == 1
    hook.webhook.refresh_from_db()
    assert hook.webhook.paused.code == (
        "owner_may_not" if how == "without the right" else "owner_missing"
    )


def test_a_refusal_on_one_environment_stops_no_other(hook: Hook, inventory: Inventory) -> None:
    empty = Environment.objects.create(
        project=hook.environment.project, name="a-new-one", deploy_path="/srv/x", ref="main"
    )
    hook.webhook.environments.add(empty)
    said = hook.push(commit(1))
    (made,) = hook.deployments()
    assert made.environment == hook.environment
    assert "shop/a-new-one: nothing was requested: shop/a-new-one has no servers yet" in said


def test_a_freeze_and_approvals_hold(hook: Hook) -> None:
    Environment.objects.update(approvals_needed=1)
    hook.push(commit(1))
    (made,) = hook.deployments()
    assert (made.state, made.approvals_needed) == (State.WAITING, 1)
    assert made.message.code == "waits_for_approval"


def test_where_code_comes_from_another_environment_a_push_deploys_nothing(hook: Hook) -> None:
    staging = Environment.objects.create(
        project=hook.environment.project, name="staging", deploy_path="/srv/staging"
    )
    Environment.objects.filter(pk=hook.environment.pk).update(promotes_from=staging)
    said = hook.push(commit(1))
    assert "shop/production: nothing was requested: " in said
    assert "shop/staging" in said
    assert not hook.deployments()


def test_a_check_that_is_required_is_waited_for(hook: Hook) -> None:
    Environment.objects.update(required_statuses=["ci/tests"])
    hook.push(commit(1))
    (made,) = hook.deployments()
    assert (made.state, made.message.code) == (State.WAITING, "not_green")
    hook.deliver("github_status", payload("github_status", sha=commit(1)))
    made.refresh_from_db()
    assert made.state == State.QUEUED


# What is not genuine


def bad_ones(hook: Hook) -> dict[str, Any]:
    body = body_of(payload("github_push", after=commit(1)))
    secret = hook.webhook.secrets()[0]
    headers = sign("github_push", body, secret)
    large = b'{"ref": "' + b"x" * (10 * 1024**2) + b'"}'
    off = IncomingWebhook(project=hook.webhook.project, name="off", kind="github", is_enabled=False)
    off.save()
    return {
        "unknown": hook.send(body, headers, uuid.uuid4()),
        "another secret": hook.send(body, sign("github_push", body, "0" * 64)),
        "another body": hook.send(body + b" ", headers),
        "no signature": hook.send(body, {"Content-Type": "application/json"}),
        "disabled": hook.send(body, sign("github_push", body, off.secrets()[0]), off.key),
        "10 MB": hook.send(large, sign("github_push", large, secret)),
        "no JSON": hook.send(b"{", sign("github_push", b"{", secret)),
        "no push": hook.send(b"{}", sign("github_push", b"{}", secret)),
        "another type": hook.send(body, {**headers, "Content-Type": "text/plain"}),
        "no delivery": hook.send(body, {**headers, "X-GitHub-Delivery": ""}),
        "of GitLab": hook.send(body, sign("gitlab_push", body, secret)),
    }


def test_all_bad_ones_get_the_same_answer_and_do_nothing(hook: Hook) -> None:
    answers = bad_ones(hook)
    seen = {
        (each.status_code, each.content, tuple(sorted(each.headers.items())))
        for each in answers.values()
    }
    assert len(seen) == 1, {name: each.status_code for name, each in answers.items()}
    assert next(iter(seen))[0] == 403
    assert not hook.deployments()
    assert not WebhookDelivery.objects.exists()


def test_a_large_body_is_not_read(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    body = b"x" * (views.MOST_BYTES + 1)

    class Counting:
        def read(self, size: int = -1) -> bytes:
            taken.append(size)
            return b""

        readline = read

    address = reverse("deploy_manager:webhook", args=[hook.webhook.key])
    more: dict[str, Any] = {"wsgi.input": Counting()}
    answer = Client().generic("POST", address, body, "application/json", **more)
    assert answer.status_code == 403
    assert not taken


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_posts_are_taken(hook: Hook, method: str) -> None:
    answer = getattr(Client(), method)(reverse("deploy_manager:webhook", args=[hook.webhook.key]))
    assert answer.status_code == 405


def test_how_long_it_takes_does_not_tell_which_webhooks_there_are(hook: Hook) -> None:
    """A hint only, as times are: an HMAC of a large body is computed for the unknown, too."""
    body = b"x" * views.MOST_BYTES
    headers = sign("github_push", body, "0" * 64)

    def seconds(key: uuid.UUID) -> float:
        cache.clear()
        begun = time.perf_counter()
        hook.send(body, headers, key)
        return time.perf_counter() - begun

    # The fastest of each, in turn: what else the machine does only makes them slower.
    both = [(seconds(hook.webhook.key), seconds(uuid.uuid4())) for _ in range(15)]
    known, unknown = map(min, zip(*both, strict=True))
    assert 1 / 2 < known / unknown < 2


def test_an_old_secret_key_still_counts_and_a_renewed_secret_does_not(hook: Hook) -> None:
    body = body_of(payload("github_push", after=commit(1), before=ZEROS))
    headers = sign("github_push", body, hook.webhook.secrets()[0])
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["only for tests"]):
        assert hook.send(body, headers).status_code == 202
    hook.webhook.renew_secret()
    assert hook.send(body, {**headers, "X-GitHub-Delivery": "2"}).status_code == 403


def test_a_gitlab_that_signs_is_taken(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = make_hook(inventory, monkeypatch, "gitlab")
    body = body_of(payload("gitlab_push", after=commit(1), before=ZEROS))
    headers = sign_as_gitlab("gitlab_push", body, hook.webhook.secrets()[0], "msg_1")
    assert " deploys " in outcome(hook.send(body, headers))
    assert WebhookDelivery.objects.get().delivery == "msg_1"


def test_who_is_refused_too_often_has_to_wait(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BAD_MOST_FOR_ONE", 3)
    body = body_of(payload("github_push", after=commit(1), before=ZEROS))
    bad, good = sign("github_push", body, "0" * 64), sign("github_push", body, "")
    good = sign("github_push", body, hook.webhook.secrets()[0])
    answers = [hook.send(body, bad) for _ in range(5)]
    assert [each.status_code for each in answers] == [403, 403, 403, 429, 429]
    assert answers[-1]["Retry-After"] == "60"
    # From the same address; nobody can keep a forge out from another one.
    assert hook.send(body, good).status_code == 429
    monkeypatch.setattr(limits, "BAD_MOST_FOR_ONE", 10)
    assert hook.send(body, good).status_code == 202


def test_who_knows_no_webhook_keeps_no_forge_out(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BAD_MOST", 3)
    body = body_of(payload("github_push", after=commit(1), before=ZEROS))
    good = sign("github_push", body, hook.webhook.secrets()[0])
    answers = [hook.send(body, good, uuid.uuid4()).status_code for _ in range(5)]
    assert answers == [403, 403, 403, 429, 429]
    # From the same address: behind a proxy all have one.
    assert hook.send(body, good).status_code == 202
    assert hook.send(b"{}", good).status_code == 429


def test_genuine_ones_are_limited_as_well(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GENUINE_MOST", 2)
    ping = payload("github_ping")
    answers = [hook.deliver("github_ping", ping).status_code for _ in range(3)]
    assert answers == [202, 202, 429]


# Many at once


def at_once(hook: Hook, many: int, threads: int) -> Counter[int]:
    """Send so many deliveries: half of them good, each of those twice, and half of them bad."""
    body = body_of(payload("github_push", after=commit(1), before=ZEROS))
    secret = hook.webhook.secrets()[0]

    def one(number: int) -> int:
        try:
            if number % 2:
                return int(hook.send(body, sign("github_push", body, "0" * 64)).status_code)
            headers = sign("github_push", body, secret, f"key-{number // 4}")
            return int(hook.send(body, headers).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(one, range(many)))


@pytest.mark.database
@pytest.mark.parametrize("many", few(100, 1000))
def test_of_many_at_once_one_deployment_comes(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(limits, "BAD_MOST_FOR_ONE", many)
    answers = at_once(hook, many, 16)
    assert answers == {202: many // 2, 403: many // 2}
    (made,) = hook.deployments()
    assert made.commit == commit(1)
    assert WebhookDelivery.objects.count() == many // 4
    said = {str(each.outcome) for each in WebhookDelivery.objects.all()}
    assert len(said) == 2  # the one that requested it, and all others


@pytest.mark.database
def test_two_webhooks_deploy_a_commit_once(hook: Hook, inventory: Inventory) -> None:
    other = IncomingWebhook(project=hook.webhook.project, name="second", kind="github")
    other.give_to(owner())
    other.save()
    other.environments.add(hook.environment)
    second = Hook(other, hook.environment)

    def push(each: Hook) -> str:
        try:
            return each.push(commit(1))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(push, (hook, second)))
    assert len(hook.deployments()) == 1
    assert sum("was requested already" in each for each in said) == 1


# What a CI says


@pytest.mark.parametrize(
    "name",
    few("github_status", "github_check_run", "gitlab_pipeline", "gitlab_job", "gitea_status"),
)
def test_what_a_ci_says_of_a_commit_is_noted(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hook = make_hook(inventory, monkeypatch, name.partition("_")[0])
    assert outcome(hook.deliver(name, payload(name))).startswith("Noted: ")
    (status,) = CommitStatus.objects.all()
    assert status.project == hook.webhook.project
    assert status.reported_by_name == hook.webhook.acts_as
    assert not hook.deployments()


def test_an_older_word_that_comes_later_changes_nothing(hook: Hook) -> None:
    done = payload("github_status")
    hook.deliver("github_status", done)
    begun = {**done, "state": "pending", "updated_at": "2026-05-15T15:20:00+00:00"}
    assert "later words" in outcome(hook.deliver("github_status", begun))
    assert CommitStatus.objects.get().state == "success"


def test_a_time_in_the_future_keeps_no_later_word_out(hook: Hook) -> None:
    done = payload("github_status", updated_at="2096-05-15T15:20:00+00:00")
    hook.deliver("github_status", done)
    assert CommitStatus.objects.get().at <= timezone.now()


def test_its_owner_has_to_be_allowed_to_report(hook: Hook) -> None:
    IncomingWebhook.objects.update(owner=person("ann", "deploy_environment"), owner_name="ann")
    said = outcome(hook.deliver("github_status", payload("github_status")))
    assert said == "ann, its owner, may not report the states of commits of shop."
    assert not CommitStatus.objects.exists()


def test_the_entrance_wakes_a_worker_for_what_is_queued(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    sent: list[tuple[str, tuple[int, ...]]] = []

    def send(task: str, *keys: int, **_options: object) -> str:
        sent.append((task, keys))
        return ""

    monkeypatch.setattr(dispatch, "send", send)
    hook.push(commit(1))
    assert ("run_shard", (hook.deployments()[0].shards.get().pk,)) in sent
