"""Input that nobody can use is refused with a reason: never a crash, never a traceback."""

import json
from typing import Any

import pytest
from pytest_django import Settings

from deploy_manager.models import Environment
from tests.inventory import Inventory
from tests.parts.admin import make_user
from tests.parts.api import BASE, Caller, caller, problem_of

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ASKED = {"environment": "shop/production", "recipe": "ping"}
HOSTILE = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff",
    "x" * 5000,
    10**30,
    -(10**30),
    1e308,
    [],
    {},
    [[]],
    None,
    True,
]
FIELDS = [
    *("environment", "recipe", "ref", "servers", "to", "promote", "from", "forced_migrations"),
    *("arguments", "break_glass", "reason", "wait", "at", "take_back", "leave_others", "shown"),
]
RIGHT = [
    *(("promote", True), ("break_glass", True), ("wait", True), ("take_back", True)),
    *(("leave_others", True), ("servers", []), ("forced_migrations", []), ("arguments", [])),
]


@pytest.fixture
def who(inventory: Inventory) -> Caller:
    boss = make_user("boss", superuser=True)
    return caller(boss)


@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_value_of_a_field_is_named(who: Caller, field: str) -> None:
    for value in HOSTILE:
        if (field, value) in RIGHT:
            continue
        for path in ("plans", "deployments"):
            told = problem_of(who.post(path, {**ASKED, field: value}), 422)
            where = {each["field"].partition(".")[0] for each in told["errors"]}
            assert field in where


@pytest.mark.parametrize("value", ["\x00", "\ud800", "x" * 300])
def test_so_is_one_in_a_list(who: Caller, value: str) -> None:
    problem_of(who.post("plans", {**ASKED, "servers": [value]}), 422)


@pytest.mark.parametrize("name", ["brake_glass", "\ud800", "\x00", "__proto__", "self"])
def test_a_field_that_is_not_there_is_refused(who: Caller, name: str) -> None:
    problem_of(who.post("deployments", {**ASKED, name: "x"}), 422)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\x80",
        b"[" * 100_000,
        b'{"environment": ' * 50_000,
        b"1" * 5000,
        b"NaN",
        b'"text"',
        b"null",
        b"[]",
        b"{}",
        b'{"environment": NaN}',
        b'{"environment": 1' + b"0" * 5000 + b"}",
        json.dumps({"a": 1}).encode("utf-16"),
    ],
)
def test_a_body_that_is_no_request_is_refused(who: Caller, body: bytes) -> None:
    assert who.send("deployments", body).status_code in (400, 422)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/xml",
        "",
    ],
)
def test_a_body_that_is_not_said_to_be_json_is_refused(who: Caller, kind: str) -> None:
    answer = who.send("deployments", json.dumps(ASKED), kind)
    assert problem_of(answer, 415)["code"] == "unsupported_media_type"


def test_a_body_in_parts_may_say_its_letters(who: Caller) -> None:
    answer = who.send("plans", json.dumps(ASKED), "application/json; charset=utf-8")
    assert answer.status_code == 200


def test_a_body_that_is_too_large_is_refused(who: Caller, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = who.post("deployments", {**ASKED, "reason": "x" * 2000})
    assert problem_of(answer, 413)["code"] == "too_large"


@pytest.mark.parametrize("number", ["0", "-1", "1" * 19, "9" * 30, "x", "1.5", "%00", "٣", "1e3"])
@pytest.mark.parametrize("path", ["deployments/{}", "deployments/{}/events", "upgrades/{}"])
def test_a_number_that_no_row_can_have_is_refused(who: Caller, path: str, number: str) -> None:
    assert who.get(path.format(number)).status_code in (404, 422)


@pytest.mark.parametrize(
    "query",
    [
        "environment=%00",
        "environment=x",
        "environment=a/b/c",
        "environment=no/where",
        "state=odd",
        "commit=x",
        "limit=0",
        "limit=" + "9" * 30,
        "before=-1",
        "before=" + "9" * 30,
        "limit=%ff",
    ],
)
def test_a_filter_that_means_nothing_is_refused(who: Caller, query: str) -> None:
    answer = who._client.get(f"{BASE}deployments?{query}")
    assert answer.status_code in (404, 422)


@pytest.mark.parametrize("path", ["deployments?enviroment=x", "advisories?=", "me?x=1"])
def test_a_filter_that_is_not_there_is_refused(who: Caller, path: str) -> None:
    told = problem_of(who._client.get(BASE + path), 422)
    assert told["errors"][0]["in"] == "query"


@pytest.mark.parametrize(
    "path",
    [
        "environments/shop/%00",
        "environments/%00/production",
        "environments/shop/%ff%fe",
        "environments/" + "x" * 3000 + "/y",
        "servers/%00",
        "servers/" + "x" * 3000,
        "deployments/1/events?after=" + "9" * 30,
        "deployments/1/events?limit_bytes=0",
        "deployments/1/log?server=%00",
        "packages",
        "packages?spec=%00",
        "packages?spec=django<",
        "packages?spec=django[x]",
        "packages?name=..&below=1",
        "advisories?environment=x",
        "statuses",
        "statuses?project=%00",
        "statuses?project=shop&commit=XYZ",
        "upgrades/plans/0",
    ],
)
def test_an_address_that_means_nothing_is_refused(who: Caller, path: str) -> None:
    answer = who._client.get(BASE + path)
    assert answer.status_code in (404, 422), answer.content
    problem_of(answer, answer.status_code)


@pytest.mark.parametrize("key", ["é", "a b", "\t", "x" * 201])
def test_a_key_that_is_no_key_is_refused(who: Caller, key: str) -> None:
    problem_of(who.post("deployments", ASKED, key=key), 422)


@pytest.mark.parametrize(
    "at", ["tomorrow", "2020-01-01 00:00", "9999-12-31 23:59+00:00", "0001-01-01 00:00-14:00", "0"]
)
def test_a_time_that_is_none_is_refused(who: Caller, at: str) -> None:
    assert who.post("deployments", {**ASKED, "at": at}).status_code in (409, 201)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("at", ["9999-12-31 23:59", "9999-12-31 23:59-12:00", "0001-01-01 00:00"])
def test_a_time_that_is_none_in_another_zone_is_refused(who: Caller, zone: str, at: str) -> None:
    Environment.objects.update(time_zone=zone)
    told = problem_of(who.post("deployments", {**ASKED, "at": at}), 409)
    assert told["detail"] == f"'{at}' is too far away."


def test_an_unknown_host_is_no_crash(who: Caller, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["shop.example.org"]
    answer = who.get("me")
    assert answer.status_code == 400


def test_an_unknown_host_is_none_without_django_s_own_check(
    who: Caller, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["shop.example.org"]
    settings.MIDDLEWARE = []
    problem_of(who.post("deployments", ASKED), 400)


STATUS = {"project": "shop", "commit": "a" * 40, "context": "tests", "state": "success"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("commit", "a" * 7),
        ("commit", "A" * 40),
        ("state", "ok"),
        ("context", ""),
        ("context", "\x00"),
        ("description", "x" * 301),
        ("url", "javascript:alert(1)"),
        ("url", "https://\x00"),
        ("url", "https://" + "x" * 600),
        ("at", 5),
        ("at", "now"),
        ("at", "2026-01-01T00:00:00"),
        ("at", "0001-01-01T00:00:00+14:00"),
        ("at", "9999-12-31T23:59:59-14:00"),
        ("project", "\x00"),
    ],
)
def test_a_status_that_no_column_takes_is_refused(who: Caller, field: str, value: Any) -> None:
    told = problem_of(who.post("statuses", {**STATUS, field: value}), 422)
    assert told["errors"][0]["field"] == field


def test_every_problem_says_what_and_where(who: Caller) -> None:
    told = problem_of(who.post("deployments", {"environment": "x"}), 422)
    assert told["type"] == "about:blank"
    assert told["code"] == "invalid_input"
    assert told["errors"][0]["in"] == "body"
    assert told["errors"][0]["field"] == "environment"
