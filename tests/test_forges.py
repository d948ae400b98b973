"""What GitHub, GitLab and Gitea document is read; what is not signed with the secret is refused."""

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from standardwebhooks import Webhook

from deploy_manager.forges.gitlab import signing_token_of
from deploy_manager.forges.known import FORGES
from deploy_manager.forges.said import Event, Push, Status, UnreadableError
from deploy_manager.models import IncomingWebhook
from tests.forges import AFTER, BEFORE, EVENTS, body_of, payload, sign, sign_as_gitlab
from tests.parts.matrices import few

SECRET = "0f" * 32


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def read(name: str, /, **changes: Any) -> Event:
    body = body_of(payload(name, **changes))
    return FORGES[name.partition("_")[0]].read(lower(sign(name, body, SECRET)), body)


def genuine(name: str, body: bytes, headers: dict[str, str], secret: str = SECRET) -> bool:
    return FORGES[name.partition("_")[0]].is_genuine(lower(headers), body, secret)


def test_each_kind_of_webhook_has_a_reader() -> None:
    assert set(FORGES) == set(IncomingWebhook.Kind.values)


@pytest.mark.parametrize(
    ("name", "pusher"),
    [("github_push", "Codertocat"), ("gitlab_push", "jsmith"), ("gitea_push", "gitea")],
)
def test_a_push_is_read(name: str, pusher: str) -> None:
    said = read(name).said
    assert said == Push("refs/heads/main", BEFORE, AFTER, pusher, frozenset({AFTER}))
    assert (said.branch, said.deleted) == ("main", False)


@pytest.mark.parametrize("name", ["github_tag_deleted", "gitlab_branch_deleted"])
def test_a_deletion_has_no_commit(name: str) -> None:
    said = read(name).said
    assert isinstance(said, Push)
    assert (said.deleted, said.after, said.branch) == (
        True,
        "",
        "old" if "branch" in name else "",
    )


def at(hour_and_minute: str) -> datetime:
    return datetime.fromisoformat(f"2026-05-15T{hour_and_minute}+00:00").astimezone(UTC)


@pytest.mark.parametrize(
    ("name", "context", "state", "when"),
    [
        ("github_status", "ci/tests", "success", at("15:24:02")),
        ("github_check_run", "tests (3.12)", "failure", at("15:24:40")),
        ("github_workflow_run", "CI", "pending", at("15:21:20")),
        ("gitlab_pipeline", "Pipeline for branch: main", "success", at("15:26:29")),
        ("gitlab_job", "test", "pending", at("15:23:40")),
        ("gitea_status", "tests / unit (push)", "failure", at("15:24:02")),
    ],
)
def test_what_a_ci_says_is_read(name: str, context: str, state: str, when: datetime) -> None:
    said = read(name).said
    assert isinstance(said, Status)
    assert (said.commit, said.context, said.state, said.at) == (AFTER, context, state, when)
    assert said.url.startswith(("http://", "https://")) or name == "gitlab_job"


@pytest.mark.parametrize("unset", ["0001-01-01T00:00:00Z", "", "9999-12-31T23:59:59-23:59"])
def test_a_time_that_was_not_set_is_none(unset: str) -> None:
    said = read("gitea_status", updated_at=unset).said
    assert isinstance(said, Status)
    assert said.at == datetime.fromisoformat(payload("gitea_status")["created_at"])
    said = read("gitea_status", updated_at=unset, created_at=unset).said
    assert isinstance(said, Status)
    assert said.at is None


def test_a_ping_says_nothing() -> None:
    assert read("github_ping") == Event("ping")


@pytest.mark.parametrize("conclusion", ["neutral", "skipped", "cancelled", "timed_out", "stale"])
def test_a_check_that_was_skipped_is_no_failure_and_one_that_was_cut_off_is(
    conclusion: str,
) -> None:
    run = payload("github_check_run")["check_run"] | {"conclusion": conclusion}
    said = read("github_check_run", check_run=run).said
    assert isinstance(said, Status)
    assert said.state == ("success" if conclusion in ("neutral", "skipped") else "failure")


def test_the_form_that_github_proposes_is_read() -> None:
    body = urlencode({"payload": body_of(payload("github_push")).decode()}).encode()
    headers = sign("github_push", body, SECRET)
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    assert genuine("github_push", body, headers)
    assert FORGES["github"].read(lower(headers), body) == read("github_push")


@pytest.mark.parametrize("name", ["github_push", "gitlab_push", "gitea_push"])
def test_only_who_has_the_secret_is_genuine(name: str) -> None:
    body = body_of(payload(name))
    headers = sign(name, body, SECRET)
    assert genuine(name, body, headers)
    assert not genuine(name, body, headers, "f0" * 32)
    assert not genuine(name, body, sign(name, body, ""))
    assert not genuine(name, body, {"Content-Type": "application/json"})
    if not name.startswith("gitlab"):  # which sends its secret, and signs nothing
        assert not genuine(name, body + b" ", headers)


@pytest.mark.parametrize("value", few("sha256=", "sha256", "sha1=00", "é", "\udcff", "sha256=é"))
def test_an_odd_signature_is_refused(value: str) -> None:
    assert not genuine("github_push", b"{}", {"X-Hub-Signature-256": value})
    assert not genuine("gitea_push", b"{}", {"X-Gitea-Signature": value})
    assert not genuine("gitlab_push", b"{}", {"X-Gitlab-Token": value})
    assert not genuine("gitlab_push", b"{}", {"webhook-signature": value})


def test_a_gitlab_that_signs_is_verified_by_signature_and_time() -> None:
    body = body_of(payload("gitlab_push"))
    headers = sign_as_gitlab("gitlab_push", body, SECRET, "f6e5a2")
    Webhook(signing_token_of(SECRET)).verify(body, headers)  # as the specification has it
    assert genuine("gitlab_push", body, headers)
    assert not genuine("gitlab_push", body + b" ", headers)
    assert not genuine("gitlab_push", body, {**headers, "webhook-id": "another"})
    old = sign_as_gitlab("gitlab_push", body, SECRET, "f6e5a2", at=time.time() - 3600)
    assert not genuine("gitlab_push", body, old)
    for timestamp in ("", "soon", "9" * 40, "²"):
        assert not genuine("gitlab_push", body, {**headers, "webhook-timestamp": timestamp})


def test_a_token_does_not_make_up_for_a_wrong_signature() -> None:
    body = body_of(payload("gitlab_push"))
    headers = sign("gitlab_push", body, SECRET) | {"webhook-signature": "v1,AAAA"}
    assert not genuine("gitlab_push", body, headers)


@pytest.mark.parametrize("name", sorted(EVENTS))
@pytest.mark.parametrize("body", few(b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff"))
def test_what_is_no_object_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(UnreadableError):
        FORGES[name.partition("_")[0]].read(lower(sign(name, body, SECRET)), body)


@pytest.mark.parametrize("name", sorted(set(EVENTS) - {"github_ping"}))
def test_any_value_in_place_of_another_is_read_or_refused(name: str) -> None:
    """Never another error: a forge may change, and whoever has the secret may send anything."""
    whole = payload(name)
    for key in whole:
        value: Any
        for value in (None, 0, [], {}, [None], {"id": []}, "\ud800", "x" * 100_000, True):
            try:
                said = read(name, **{key: value}).said
            except UnreadableError:
                continue
            if isinstance(said, Status):
                assert len(said.context) <= 200
                assert len(said.description) <= 300
                assert said.description.isprintable()


@pytest.mark.parametrize("url", few("javascript:alert(1)", "https://x" * 100, "http://a b", 7))
def test_an_address_that_no_browser_should_open_is_left_out(url: object) -> None:
    said = read("github_status", target_url=url).said
    assert isinstance(said, Status)
    assert said.url == ""
