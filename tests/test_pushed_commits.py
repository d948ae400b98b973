"""Pushes in any order: a worker asks the repository, and code never goes back."""

from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from deploy_manager.deployments.choices import choose_release
from deploy_manager.deployments.pushes import deploy_push
from deploy_manager.forges.said import Push
from deploy_manager.models import Deployment, IncomingWebhook, Release, State
from deploy_manager.reconcile import reconcile
from tests.overrides import HeldSite
from tests.owners import owner
from tests.returns import OLD, serving

pytestmark = pytest.mark.django_db(transaction=True)


class Pushes:
    """A held site whose environment follows `main`, and the webhook that deploys it."""

    def __init__(self, held: HeldSite) -> None:
        self.held = held
        held.environment.ref = "main"
        held.environment.save()
        self.webhook = IncomingWebhook(
            project=held.environment.project, name="from-github", kind="github"
        )
        self.webhook.give_to(owner())
        self.webhook.save()
        self.webhook.environments.add(held.environment)

    def commit(self) -> str:
        return self.held.pin(*OLD)

    def push(self, commit: str, before: str = "", **more: Any) -> Deployment | None:
        """Take a push; return what was requested. Nobody runs it yet."""
        made: list[Deployment] = []
        push = Push("refs/heads/main", before, commit, "ada", **more)
        self.said = str(deploy_push(self.webhook, push, made.append))
        return made[0] if made else None

    def push_elsewhere(self, commit: str) -> Deployment:
        """Take a push as a web server on another machine does, which has no mirror."""
        cache = self.held.repository.path.parent / "elsewhere"
        with override_settings(DEPLOY_MANAGER={**settings.DEPLOY_MANAGER, "CACHE": cache}):
            made = self.push(commit)
        assert made is not None, self.said
        return made

    def deploy(self, commit: str, before: str = "") -> Deployment:
        made = self.push(commit, before)
        assert made is not None, self.said
        return self.held.see_through(made)


@pytest.fixture
def pushes(held: HeldSite) -> Pushes:
    return Pushes(held)


def begin_next() -> None:
    reconcile(lambda pk: None, look=lambda pk: None)


def test_a_pushed_commit_comes_to_serve(pushes: Pushes) -> None:
    commit = pushes.commit()
    assert pushes.deploy(commit).state == State.SUCCEEDED
    assert serving(pushes.held).commit == commit


def test_an_older_push_that_comes_later_takes_nothing_back(pushes: Pushes) -> None:
    first, second = pushes.commit(), pushes.commit()
    pushes.deploy(second)
    late = pushes.held.see_through(pushes.push_elsewhere(first))
    assert late.state == State.CANCELLED
    assert late.message.code == "left_alone"
    assert "is older than what serves" in late.message
    assert serving(pushes.held).commit == second


def test_an_older_push_that_comes_while_the_newer_one_runs_takes_nothing_back(
    pushes: Pushes,
) -> None:
    first, second = pushes.commit(), pushes.commit()
    newer = pushes.push(second)
    late = pushes.push_elsewhere(first)
    assert newer is not None
    assert late.state == State.WAITING
    pushes.held.see_through(newer)
    begin_next()
    assert pushes.held.see_through(late).state == State.CANCELLED
    assert serving(pushes.held).commit == second


def test_where_the_repository_is_known_an_older_push_asks_for_nothing(pushes: Pushes) -> None:
    first, second, third = pushes.commit(), pushes.commit(), pushes.commit()
    pushes.deploy(first)  # fetches all three
    newest = pushes.push(third)
    assert newest is not None
    assert pushes.push(second) is None
    assert "is part of what #" in pushes.said
    assert pushes.held.see_through(newest).state == State.SUCCEEDED
    assert pushes.push(second) is None
    assert "is older than what serves" in pushes.said


def test_commits_in_between_give_way_to_the_newest(pushes: Pushes) -> None:
    first, second, third = pushes.commit(), pushes.commit(), pushes.commit()
    pushes.push(first)
    waiting = pushes.push(second)
    # It was not on top of the one that waits, but brings it.
    pushes.push(third, before="f" * 40, commits=frozenset({second, third}))
    assert waiting is not None
    waiting.refresh_from_db()
    assert waiting.state == State.CANCELLED


def test_a_commit_that_was_pushed_away_is_not_deployed(pushes: Pushes) -> None:
    """It waited while somebody pushed another history by force."""
    pushes.commit()
    pushes.deploy(pushes.held.repository.head)
    gone = pushes.commit()
    pushes.held.repository.git("branch", "kept", gone)
    waiting = pushes.push(gone)
    pushes.held.repository.git("reset", "--hard", "--quiet", "HEAD~1")
    pushes.commit()
    assert waiting is not None
    pushes.held.see_through(waiting)
    assert waiting.state == State.CANCELLED
    assert "is not on the branch main any more" in waiting.message


def test_a_commit_on_another_history_replaces_what_serves(pushes: Pushes) -> None:
    pushes.deploy(pushes.commit())
    pushes.held.repository.git("reset", "--hard", "--quiet", "HEAD~1")
    other = pushes.commit()
    assert pushes.deploy(other).state == State.SUCCEEDED
    assert serving(pushes.held).commit == other


def test_what_people_returned_from_is_not_pushed_again(pushes: Pushes) -> None:
    held = pushes.held
    held.deploy()
    bad = pushes.commit()
    held.deploy()  # by hand: no push has had this commit
    held.see_through(held.request("rollback", release=choose_release(held.environment)))
    again = pushes.deploy(bad)
    assert again.state == State.CANCELLED
    assert "returned from it" in again.message
    assert serving(held).commit != bad


def test_a_bad_release_is_not_pushed_again(pushes: Pushes) -> None:
    pushes.held.deploy()
    bad = pushes.commit()
    release = pushes.held.deploy().release
    assert isinstance(release, Release)
    pushes.held.deploy(commit=pushes.held.repository.git("rev-parse", "HEAD~1"))
    release.mark_bad("slow")
    again = pushes.deploy(bad)
    assert again.state == State.CANCELLED
    assert "marked as bad" in again.message


@pytest.mark.parametrize("how", ["deleted", "disabled", "moved on"])
def test_what_has_not_begun_stops_with_its_webhook(pushes: Pushes, how: str) -> None:
    made = pushes.push(pushes.commit())
    assert made is not None
    if how == "deleted":
        pushes.webhook.delete()
    elif how == "disabled":
        IncomingWebhook.objects.update(is_enabled=False)
    else:
        pushes.held.environment.ref = "other"
        pushes.held.environment.save()
    pushes.held.see_through(made)
    begin_next()
    made.refresh_from_db()
    assert made.state == State.CANCELLED, made.message
    assert made.message.code == ("left_alone" if how == "moved on" else "webhook_off")


def test_a_push_of_a_commit_that_serves_already_is_deployed_once_more(pushes: Pushes) -> None:
    """Whoever deployed it by hand may have done so with other pins."""
    pushes.commit()
    commit = pushes.held.deploy().commit
    assert pushes.deploy(commit).state == State.SUCCEEDED
    pushes.push(commit)
    assert "was requested already" in pushes.said
