"""The list of releases, and the page that marks some of them as bad."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from deploy_manager.models import LockFile, Release
from tests.inventory import Inventory
from tests.parts.admin import make_user, url, visitor
from tests.releases import activate


@pytest.fixture
def release(inventory: Inventory) -> Release:
    lock = LockFile.objects.of("a" * 64, "a==1\n")
    return Release.objects.make(inventory.environment, "a" * 40, "Begin", lock)


def mark(client: Client, release: Release, reason: str = "It breaks <b>all</b>.") -> int:
    address = url("release_mark_bad", on=release.pk)
    answer = client.post(address, {"reason": reason})
    release.refresh_from_db()
    return answer.status_code


def test_the_action_leads_to_the_page_that_asks_why(release: Release) -> None:
    deployer = visitor("deployer")
    data = {"action": "mark_bad", "_selected_action": [release.pk]}
    answer = deployer.post(url("release_changelist"), data)
    assert answer["Location"] == url("release_mark_bad", on=release.pk)
    assert release.name in deployer.get(answer["Location"]).content.decode()


def test_a_bad_release_is_marked_with_the_reason(release: Release) -> None:
    deployer = visitor("deployer")
    assert mark(deployer, release) == 302
    assert release.bad_since is not None
    page = deployer.get(url("release_changelist")).content.decode()
    assert "bad</span>" in page
    assert "It breaks &lt;b&gt;all&lt;/b&gt;. (marked by deployer)" in page
    assert "It breaks" in LogEntry.objects.get().change_message
    assert "By marked as bad" in page
    for bad, count in (("1", 1), ("0", 0)):
        found = deployer.get(url("release_changelist", bad=bad))
        assert len(found.context["cl"].result_list) == count


def test_the_first_reason_stands(release: Release) -> None:
    release.mark_bad("First.")
    mark(visitor("deployer"), release, "Second.")
    assert release.bad_reason == "First."


def test_a_reason_is_needed(release: Release) -> None:
    assert mark(visitor("deployer"), release, " ") == 200
    assert release.bad_since is None


@pytest.mark.parametrize(
    ("who", "status"), [("owner", 302), ("deployer", 302), ("viewer", 403), ("stranger", 404)]
)
def test_only_who_may_deploy_marks(release: Release, who: str, status: int) -> None:
    assert mark(visitor(who), release) == status
    assert (release.bad_since is not None) == (status == 302)


def test_a_viewer_has_no_such_action(release: Release) -> None:
    assert "Mark as bad" not in visitor("viewer").get(url("release_changelist")).content.decode()


def test_what_is_not_there_is_not_found(release: Release) -> None:
    deployer = visitor("deployer")
    for words in ("", "x", "999", "9" * 40):
        assert deployer.get(url("release_mark_bad", on=words)).status_code == 404


def test_marking_needs_a_token(release: Release) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_user("ana", superuser=True))
    assert mark(strict, release) == 403


def test_the_list_shows_which_release_is_not_known_to_have_served(
    inventory: Inventory, release: Release
) -> None:
    shown = "never served, as far as is known"
    owner = visitor("owner")
    assert shown in owner.get(url("release_changelist")).content.decode()
    activate(inventory, release)
    assert shown not in owner.get(url("release_changelist")).content.decode()
