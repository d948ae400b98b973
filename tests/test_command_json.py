"""With --json, a program reads one object a line, and the last one is a summary: always."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from deploy_manager.messages import REASONS
from deploy_manager.models import Deployment
from tests.inventory import Inventory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("own_recipes", "worker"),
]

REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("deploy", "nowhere"), "There is no environment 'nowhere'"),
    (("recipe", "production", "activate"), "is frozen by boss"),
    (("recipe", "production", "nothing"), "Choose one of: "),
    (("rollback", "production"), "has no good release before this one"),
    (("retry", "12"), "There is no deployment #12."),
    (("converge", "production", "one"), "serves a release yet"),
    (("cancel", "production"), "Nothing is under way on shop/production."),
    (("upgrade", "django", "--environment", "nowhere"), "There is no environment 'nowhere'"),
    (("upgrade", "no thing", "--environment", "production"), "is not a package"),
    (("freeze", "production", "--reason", " "), "Give a reason"),
    (("thaw", "nowhere"), "There is no environment 'nowhere'"),
    (("overrides", "production", "--let-go", "django"), "reason"),
    (("releases", "nowhere"), "There is no environment 'nowhere'"),
    (("policies", "nightly"), "There is no policy 'nightly'"),
    (("audit", "nowhere"), "There is no environment 'nowhere'"),
    (("inventory", "production", "--server", "nobody"), "No such server: nobody"),
]
LISTS: list[tuple[str, ...]] = [
    ("freeze", "production", "--reason", "Sales"),
    ("thaw", "production"),
    ("recipe", "production"),
    ("recipe", "production", "greet"),
    ("recipe", "production", "greet", "--no-wait"),
    ("recipe", "production", "greet", "--dry-run"),
    ("releases", "production"),
    ("overrides", "production"),
    ("policies",),
    ("reconcile",),
]


def lines(*words: str) -> tuple[list[dict[str, Any]], str]:
    """Return the objects that a command printed, and why it was refused (blank: it was not)."""
    out, refused = io.StringIO(), ""
    try:
        call_command(*words, "--json", stdout=out)
    except CommandError as error:
        refused = str(error)
    return [json.loads(line) for line in out.getvalue().splitlines()], refused


@pytest.mark.parametrize(("words", "why"), REFUSED)
def test_a_refusal_is_a_summary_with_the_reason(
    inventory: Inventory, words: tuple[str, ...], why: str
) -> None:
    inventory.environment.freeze("Exams", "boss")
    told, refused = lines(*words)
    assert why in refused
    assert set(told[-1].pop("reason")) & REASONS.keys()
    assert told[-1] == {"event": "summary", "state": "refused", "message": refused}
    assert not Deployment.objects.exists()


@pytest.mark.parametrize("words", LISTS)
def test_whatever_is_printed_ends_with_a_summary(
    inventory: Inventory, words: tuple[str, ...]
) -> None:
    told, refused = lines(*words)
    assert not refused
    assert [each["event"] for each in told].count("summary") == 1
    assert told[-1]["event"] == "summary"


def test_what_went_wrong_is_no_refusal(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_words: object) -> None:
        raise CommandError("The tables are gone.")

    monkeypatch.setattr("deploy_manager.management.commands.policies.find_policies", fail)
    told, _refused = lines("policies")
    assert told == [{"event": "summary", "state": "failed", "message": "The tables are gone."}]


def test_people_read_no_json(inventory: Inventory) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError):
        call_command("retry", "12", stdout=out)
    assert out.getvalue() == ""
