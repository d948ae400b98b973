"""A question to the resolver that nobody could have asked, or its answer, has to be asked again."""

from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import DatabaseError, transaction
from django.test import Client

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import OnFailure, Resolution
from deploy_manager.models.shapes import fits, keys_in, object_in
from deploy_manager.upgrades.plan import UpgradeOptions, UpgradePlan
from deploy_manager.upgrades.stored import options_from_json, plan_from_json
from tests.loop import Pair
from tests.parts.admin import url, visitor
from tests.parts.hostile import NULL

pytestmark = pytest.mark.django_db

OPTIONS: dict[str, Any] = {
    "pins": [{"name": "kit", "reach": "patch", "version": "", "fixed_in": []}],
    "reason": "",
    "soak": 0,
    "on_failure": str(OnFailure.RETURN),
    "before": "",
    "exempt": [],
}
SENT = {"text": "", "name": "", "commit": "", "lock": True, "skip_bad": False}
ODD: list[Any] = [NULL, 5, "x", [], {}, [1], ["x"], [None], {"a": 1}, "\ud800", True, [{}], [[]]]
MOVE: dict[str, Any] = {"name": "kit", "before": "1", "after": "2", "why": "x"}
MOVE |= {"fixes": ["x"], "advisories": ["x"]}
FEW_ODD: list[Any] = [NULL, 5, ["x"], {"a": 1}, "\ud800"]
STAGE = {
    "environment": 1,
    "release_before": 1,
    "begun_from": "x",
    "decided": "x",
    "lock": "",
    "moves": [MOVE],
}


def each_spoilt(value: Any) -> list[Any]:
    """Return JSON with something odd in each place of it, one at a time, or without that place."""
    spoilt: list[Any] = list(ODD)
    if isinstance(value, dict):
        for name, inner in value.items():
            spoilt.append({key: each for key, each in value.items() if key != name})
            spoilt += [{**value, name: odd} for odd in each_spoilt(inner) if odd is not NULL]
            spoilt.append({**value, name: None})
    elif isinstance(value, list) and value:
        spoilt += [[odd] for odd in each_spoilt(value[0]) if odd is not NULL]
    return spoilt


@pytest.fixture
def owner() -> Client:
    client = visitor("owner")
    client.raise_request_exception = False
    return client


@pytest.fixture
def asked(pair: Pair, owner: Client) -> Resolution:
    """An upgrade that was asked for and planned, in which nothing would change."""
    return Resolution.objects.create(
        kind=Resolution.Kind.UPGRADE,
        environments=[pair.good.pk],
        requested_by=User.objects.get(username="owner"),
        state=Resolution.State.SUCCEEDED,
        asked={"sent": {"packages": "kit", f"turn-{pair.good.pk}": "1"}, "options": OPTIONS},
        answer={"stages": [], "unmoved": [pair.good.pk], "problems": []},
    )


def spoil(question: Resolution, **columns: Any) -> None:
    """Write into its row, unless the database itself refuses it."""
    with suppress(DatabaseError), transaction.atomic():
        Resolution.objects.filter(pk=question.pk).update(**columns)


def unsound(owner: Client, address: str, asked: Resolution, columns: list[tuple[str, Any]]) -> Any:
    """Return what ended a page with an error."""
    sound = {name: getattr(asked, name) for name, _odd in columns}
    failed = []
    for name, odd in columns:
        spoil(asked, **{**sound, name: odd})
        answer = owner.get(address, {"asked": asked.pk})
        if answer.status_code == 500:
            failed.append(f"{name} {odd}: {vars(answer)['exc_info'][1]!r}")
    return failed


def test_no_question_nor_plan_ends_the_page_of_an_upgrade(owner: Client, asked: Resolution) -> None:
    columns = [
        *(("environments", odd) for odd in [*FEW_ODD, [2**70], [True]]),
        *(("asked", odd) for odd in FEW_ODD),
        *(("asked", {**asked.asked, "sent": odd}) for odd in (5, {}, {"packages": {"a": 1}})),
        *(
            ("answer", odd)
            for odd in [None, *FEW_ODD, {"stages": [{}], "unmoved": [], "problems": []}]
        ),
    ]
    assert not unsound(owner, url("upgrade_add"), asked, columns)


def test_options_and_plans_are_refused_whatever_is_wrong_with_them(db: None) -> None:
    plan = {"stages": [STAGE], "unmoved": [1], "problems": [[{"code": "", "text": "x"}]]}
    sound = options_from_json(OPTIONS)
    for odd in [*each_spoilt(OPTIONS), *({**OPTIONS, "before": text} for text in ("x", "9"))]:
        with suppress(RequestRefused):
            assert isinstance(options_from_json(odd), UpgradeOptions)
    for odd in [plan, *each_spoilt(plan)]:
        with suppress(RequestRefused):
            assert isinstance(plan_from_json(odd, sound), UpgradePlan)


def test_no_question_nor_answer_ends_the_page_of_an_import(
    owner: Client, asked: Resolution, pair: Pair
) -> None:
    spoil(asked, kind="pins", asked=SENT, answer={"pins": "kit==1.0\n", "problems": ["x"]})
    asked.refresh_from_db()
    columns = [
        *(("environments", odd) for odd in FEW_ODD),
        *(("asked", odd) for odd in [*FEW_ODD, {**SENT, "skip_bad": "x"}, {**SENT, "text": 5}]),
        *(("answer", odd) for odd in [None, *FEW_ODD]),
        *(("answer", {"pins": odd, "problems": []}) for odd in (5, "-e x", "\ud800")),
        *(("answer", {"pins": "", "problems": odd}) for odd in (5, [1], None)),
    ]
    address = url("environment_requirements", pair.good.pk)
    assert not unsound(owner, address, asked, columns)


@pytest.mark.parametrize("answer", [None, {}, [], NULL])
def test_no_answer_is_not_a_list_without_pins(
    owner: Client, asked: Resolution, pair: Pair, answer: Any
) -> None:
    spoil(asked, kind="pins", asked=SENT, answer=answer)
    page = owner.get(url("environment_requirements", pair.good.pk), {"asked": asked.pk})
    assert page.status_code == 302


@pytest.mark.parametrize("column", ["asked", "answer"])
def test_what_can_not_be_read_has_to_be_asked_for_again(
    owner: Client, asked: Resolution, column: str
) -> None:
    spoil(asked, **{column: {}})
    page = owner.get(url("upgrade_add"), {"asked": asked.pk})
    (said,) = map(str, get_messages(page.wsgi_request))
    assert "can't be read: preview the upgrade again" in said
    assert "_confirm" not in page.content.decode()


def test_a_question_about_no_environment_has_expired(owner: Client, asked: Resolution) -> None:
    spoil(asked, environments=["x"])
    page = owner.get(url("upgrade_add"), {"asked": asked.pk})
    (said,) = map(str, get_messages(page.wsgi_request))
    assert "has expired" in said


def test_a_sound_one_is_shown_with_the_form_as_it_was_typed(
    owner: Client, asked: Resolution, pair: Pair
) -> None:
    page = owner.get(url("upgrade_add"), {"asked": asked.pk}).content.decode()
    assert f"{pair.good}: nothing would move." in page
    assert 'value="kit"' in page


@pytest.mark.parametrize("odd", [5, [1], {"packages": 5}, {"packages": None}, None], ids=str)
def test_confirming_one_that_was_spoilt_since_requests_nothing(
    owner: Client, asked: Resolution, odd: Any
) -> None:
    spoil(asked, asked={"sent": odd, "options": OPTIONS})
    sent = {"asked": asked.pk, "_confirm": "1", "packages": "kit", "shown": "x"}
    assert owner.post(url("upgrade_add"), sent).status_code != 500


SHAPE = {"name": str, "many": [str], "number": range(3), "how": frozenset({"a"}), "is": bool}
SOUND: dict[str, Any] = {"name": "x", "many": ["x"], "number": 2, "how": "a", "is": True}


def test_a_shape_is_compared_all_the_way_down() -> None:
    assert fits(SOUND, SHAPE)
    assert fits({**SOUND, "more": 5}, SHAPE)
    assert fits({**SOUND, "many": []}, SHAPE)
    for name, odd in [
        *(("name", each) for each in (5, None, "\ud800", ["x"])),
        *(("many", each) for each in ("x", [5], {"x": "x"}, None)),
        *(("number", each) for each in (3, -1, True, 1.0, "1")),
        *(("how", each) for each in ("b", 5, [], ["a"])),
        *(("is", each) for each in (1, 0, "", None)),
    ]:
        assert not fits({**SOUND, name: odd}, SHAPE)
        assert not fits({key: each for key, each in SOUND.items() if key != name}, SHAPE)


def test_keys_and_objects_are_read_as_far_as_they_are_some() -> None:
    assert keys_in([1, "2", True, None, 0, -1, 2**63, 3, [4]]) == (1, 3)
    assert keys_in({"1": 1}) == keys_in(None) == ()
    assert object_in({"a": 1}) == {"a": 1}
    assert object_in([1]) == object_in(None) == {}
