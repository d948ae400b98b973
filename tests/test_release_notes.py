"""Release notes: the commits that a deployment brought, or took back."""

import pytest

from deploy_manager.deployments.notes import escape, notes_of
from deploy_manager.models import Release
from tests.commands import call, events
from tests.overrides import HeldSite

pytestmark = pytest.mark.django_db(transaction=True)


def subject(held: HeldSite, text: str) -> str:
    return held.repository.commit(text, {"made.txt": text})


def subjects(notes: object) -> list[str]:
    return [each.subject for each in getattr(notes, "commits", ())]


def test_the_notes_are_the_commits_since_what_served(held: HeldSite) -> None:
    held.deploy()
    before = held.repository.head
    subject(held, "Show the stock")
    after = subject(held, "Hide <b>empty</b> shelves")
    notes = notes_of(held.deploy())
    assert (notes.before, notes.after) == (before, after)
    assert subjects(notes) == ["Hide <b>empty</b> shelves", "Show the stock"]
    text = notes.as_markdown()
    assert "- Show the stock (`" in text
    assert r"Hide \<b\>empty\</b\> shelves" in text
    assert notes.as_json()["commits"][0]["hash"] == after


def test_the_first_deployment_brings_the_whole_history(held: HeldSite) -> None:
    notes = notes_of(held.deploy())
    assert notes.before == ""
    assert subjects(notes)[-1] == "First"


def test_a_rollback_takes_back(held: HeldSite) -> None:
    first = held.deploy().release
    assert isinstance(first, Release)
    subject(held, "Show the stock")
    held.deploy()
    notes = notes_of(held.deploy(commit=first.commit))
    assert [each.subject for each in notes.taken_back] == ["Show the stock"]
    assert not notes.commits
    assert "Taken back:" in notes.as_markdown()


def test_the_same_commit_again_brings_nothing(held: HeldSite) -> None:
    held.deploy()
    assert "No other commits than before." in notes_of(held.deploy()).as_markdown()


def test_an_unknown_commit_is_said(held: HeldSite) -> None:
    held.deploy()
    subject(held, "Show the stock")
    made = held.deploy()
    Release.objects.filter(deployments=made).update(commit="f" * 40)
    made.refresh_from_db()
    assert "The commits are not known here:" in notes_of(made).as_markdown()


def test_the_command_prints_them(held: HeldSite) -> None:
    held.deploy()
    subject(held, "Show the stock")
    number = str(held.deploy().pk)
    assert "Show the stock" in call("releases", "shop/production", "--notes", number)
    (line,) = events(call("releases", "shop/production", "--notes", number, "--json"))
    assert line["event"] == "notes"
    assert line["commits"][0]["subject"] == "Show the stock"


def test_what_is_markup_means_itself() -> None:
    assert escape("[x](javascript:y) `a` *b*\n# c") == (
        r"\[x\]\(javascript:y\) \`a\` \*b\*" + r" \# c"
    )
