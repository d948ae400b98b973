"""What is known against versions, asked of a database on loopback that speaks as OSV does."""

import json
from typing import Any

import pytest

from deploy_manager.advisories import osv_source, web
from deploy_manager.advisories.advice import Advice, KnownAdvisory, Pair
from deploy_manager.advisories.asking import advise
from deploy_manager.advisories.osv_source import OsvSource
from tests.parts.osv import OsvStub, advisory

DJANGO = ("django", "5.2.1")
SAFE = ("asgiref", "3.8.1")
BATCH = "/v1/querybatch"


def ask(osv: OsvStub, *pairs: Pair, timeout: float = 60) -> dict[Pair, Advice]:
    return advise(pairs, [OsvSource(osv.url)], timeout)


def names(advice: Advice) -> list[str]:
    return [one.identifier for one in advice.advisories]


@pytest.fixture
def known(osv: OsvStub) -> OsvStub:
    """One vulnerability of Django, by two names."""
    osv.add("GHSA-aaaa", "django", fixed="5.2.8", aliases=("CVE-2026-1",))
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8", aliases=("CVE-2026-1",), summary="Bad\nSQL.")
    return osv


def test_a_vulnerability_is_shown_once_with_the_version_that_mends_it(known: OsvStub) -> None:
    advice = ask(known, DJANGO, SAFE)
    assert advice[SAFE] == Advice()
    assert advice[DJANGO] == Advice(
        (
            KnownAdvisory(
                identifier="PYSEC-2026-1",
                aliases=("CVE-2026-1", "GHSA-aaaa"),
                package="django",
                summary="Bad SQL.",
                fixed_in=("5.2.8",),
                url="https://osv.dev/vulnerability/PYSEC-2026-1",
            ),
        )
    )


def test_versions_of_one_package_are_told_apart(known: OsvStub) -> None:
    advice = ask(known, DJANGO, ("django", "5.2.8"), ("django", "5.2.9"))
    assert [bool(one.advisories) for one in advice.values()] == [True, False, False]


def test_pairs_are_answered_as_they_were_asked(known: OsvStub) -> None:
    pairs = [("Django", "5.2.1"), ("DJANGO", "5.2.1.0"), ("zope_interface", "7.0+local.1")]
    advice = ask(known, *pairs)
    assert list(advice) == pairs
    assert [len(one.advisories) for one in advice.values()] == [1, 1, 0]
    assert not any(one.problem for one in advice.values())


def test_a_local_version_is_as_vulnerable_as_the_public_one(osv: OsvStub) -> None:
    osv.add("GHSA-a", "torch", last_affected="2.0")
    assert names(ask(osv, ("torch", "2.0+cpu"))["torch", "2.0+cpu"]) == ["GHSA-a"]
    assert list(osv.asked) == [("torch", "2.0")]


def test_what_was_withdrawn_is_not_an_advisory(osv: OsvStub) -> None:
    osv.add("GHSA-gone", "django", fixed="6", withdrawn="2026-02-01T00:00:00Z")
    assert ask(osv, DJANGO) == {DJANGO: Advice()}
    assert "/v1/vulns/GHSA-gone" in osv.requests


@pytest.mark.parametrize("pair", [("-r /etc/passwd\nevil", "1"), ("old", "2004-a.b"), ("", "")])
def test_what_is_not_a_name_and_a_version_is_unknown_and_never_asked(
    known: OsvStub, pair: Pair
) -> None:
    advice = ask(known, pair, DJANGO)
    assert "is not a name and version" in advice[pair].problem
    assert not advice[pair].knows_version
    assert advice[DJANGO].advisories
    assert list(known.asked) == [DJANGO]


def test_many_versions_are_asked_for_in_batches_and_each_record_once(known: OsvStub) -> None:
    pairs = [("django", f"5.1.{number}") for number in range(1500)]
    advice = ask(known, *pairs)
    assert known.batches == [1000, 500]
    assert sorted(known.requests[2:]) == ["/v1/vulns/GHSA-aaaa", "/v1/vulns/PYSEC-2026-1"]
    assert all(names(one) == ["PYSEC-2026-1"] for one in advice.values())


def test_records_share_a_few_connections(osv: OsvStub) -> None:
    for number in range(100):
        osv.add(f"GHSA-{number}", "django")
    assert len(ask(osv, DJANGO)[DJANGO].advisories) == 100
    assert osv.connections <= osv_source.RECORDS_AT_ONCE + 1


def test_every_page_of_an_answer_is_asked_for(known: OsvStub) -> None:
    for number in range(5):
        known.add(f"GHSA-{number}", "django")
    known.page_size = 2
    advice = ask(known, DJANGO, SAFE)
    assert len(advice[DJANGO].advisories) == 6
    assert not advice[DJANGO].problem
    assert (known.asked[DJANGO], known.asked[SAFE]) == (4, 1)


def test_pages_without_an_end_are_left(osv: OsvStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osv_source, "MOST_PAGES", 3)
    for number in range(9):
        osv.add(f"GHSA-{number}", "django")
    osv.page_size = 1
    advice = ask(osv, DJANGO, SAFE)
    assert "pages without an end" in advice[DJANGO].problem
    assert len(advice[DJANGO].advisories) == 2
    assert advice[SAFE] == Advice()


def test_an_overload_that_passes_is_not_noticed(known: OsvStub) -> None:
    known.refusals = 2
    assert ask(known, DJANGO)[DJANGO].problem == ""


def test_when_the_database_is_down_everything_is_unknown(known: OsvStub) -> None:
    known.down = True
    advice = ask(known, *((f"package-{number}", "1.0") for number in range(100)), DJANGO)
    assert {one.problem for one in advice.values()} == {
        f"{known.url} did not answer: 503 Service Unavailable"
    }
    assert all(one.knows_version for one in advice.values())
    assert len(known.requests) == 3, "tried again twice"


def test_if_nobody_listens_everything_is_unknown(osv: OsvStub) -> None:
    osv.close()
    assert "did not answer: " in (problem := ask(osv, SAFE)[SAFE].problem)
    assert "Connection refused" in problem


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in to the guest network</html>",
        b"\xff",
        b"[" * 100_000,
        b"",
        b"{}",
        b"[]",
        b'{"results": {}}',
        b'{"results": []}',
        b'{"code": 3, "message": "Invalid query"}',
    ],
)
def test_what_is_not_an_answer_of_osv_is_none(known: OsvStub, body: bytes) -> None:
    known.bodies[BATCH] = body
    for advice in ask(known, DJANGO, SAFE).values():
        assert "did not answer: its answer is not" in advice.problem


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        "many",
        {"error": "busy"},
        {"vulns": "many"},
        {"vulns": {}},
        {"vulns": [{"name": "GHSA-a"}]},
        {"vulns": [{"id": "../../v2/secrets"}]},
        {"vulns": [{"id": 5}]},
        {"next_page_token": "later"},
        {"next_page_token": 5},
    ],
)
def test_one_bad_answer_makes_one_version_unknown(known: OsvStub, garbage: Any) -> None:
    known.garbage["bad"] = garbage
    advice = ask(known, ("a", "1"), ("bad", "1"), ("c", "1"), DJANGO)
    assert [bool(one.problem) for one in advice.values()] == [False, True, False, False]
    assert f"{known.url}: its answer can't be understood" in advice["bad", "1"].problem
    assert advice[DJANGO].advisories


def record(**facts: Any) -> bytes:
    """A record of GHSA-x with other facts."""
    return json.dumps({**advisory("GHSA-x", "django"), **facts}).encode()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (None, "can't be had: 404 Not Found"),
        (b"<html>", "can't be had: its answer is not JSON"),
        (b"[]", "can't be understood: AttributeError"),
        (record(schema_version="2.0.0"), "another major version of the schema"),
        (record(id="GHSA-y"), "can't be understood: ValueError it is the record GHSA-y"),
        (record(affected=None), "can't be understood: TypeError"),
        (record(affected=[]), "says that it is not about this version"),
        (record(affected=advisory("", "flask")["affected"]), "says that it is not about this"),
        (record(affected=advisory("", "django", fixed="5")["affected"]), "says that it is not"),
        (record(affected=advisory("", "django", fixed="soon")["affected"]), "InvalidVersion"),
        (record(aliases="CVE-1"), "its aliases are not a list"),
        (record(aliases=[[]]), "can't be understood: TypeError"),
        (record(summary=5), "can't be understood: AttributeError"),
    ],
)
def test_a_record_that_is_not_understood_is_shown_with_a_problem_and_hides_no_other(
    known: OsvStub, body: bytes | None, problem: str
) -> None:
    known.garbage["django"] = {"vulns": [{"id": "GHSA-x"}, {"id": "PYSEC-2026-1"}]}
    if body is not None:
        known.bodies["/v1/vulns/GHSA-x"] = body
    advice = ask(known, DJANGO, SAFE)
    assert names(advice[DJANGO]) == ["GHSA-x", "PYSEC-2026-1"]
    assert f"{known.url}: GHSA-x {problem}" in advice[DJANGO].problem or (
        "GHSA-x" in advice[DJANGO].problem and problem in advice[DJANGO].problem
    )
    assert advice[SAFE] == Advice()


def test_a_batch_that_fails_leaves_the_others(
    known: OsvStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(osv_source, "MOST_IN_A_BATCH", 1)
    known.refusals = 3
    advice = ask(known, ("a", "1"), DJANGO)
    assert "no answer about this version: 503" in advice["a", "1"].problem
    assert names(advice[DJANGO]) == ["PYSEC-2026-1"]
    assert not advice[DJANGO].problem


@pytest.mark.parametrize(
    "drip",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Slow:", id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="body"),
    ],
)
def test_a_database_that_answers_drop_by_drop_is_left_in_time(
    known: OsvStub, monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    monkeypatch.setattr("deploy_manager.advisories.asking.GRACE", 0.1)
    known.drips[BATCH] = drip
    advice = ask(known, DJANGO, SAFE, timeout=0.5)
    assert {one.problem for one in advice.values()} == {
        f"{known.url} did not answer: not within 0.5 s"
    }


def test_a_database_that_hangs_is_left_in_time(known: OsvStub) -> None:
    known.waits["*"] = 60.0
    for advice in ask(known, DJANGO, SAFE, timeout=0.5).values():
        assert f"{known.url} did not answer: " in advice.problem


def test_a_record_that_hangs_hides_no_other(known: OsvStub) -> None:
    known.garbage["django"] = {"vulns": [{"id": "GHSA-x"}, {"id": "PYSEC-2026-1"}]}
    known.drips["/v1/vulns/GHSA-x"] = b"HTTP/1.1 200 OK\r\nX-Slow:"
    advice = ask(known, DJANGO, timeout=1.0)
    assert names(advice[DJANGO]) == ["GHSA-x", "PYSEC-2026-1"]
    assert "GHSA-x did not come in time" in advice[DJANGO].problem


def test_an_answer_without_an_end_is_left(known: OsvStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MOST_BYTES", 10)
    known.drips[BATCH] = b"HTTP/1.1 200 OK\r\n\r\n"
    assert "did not answer: an answer has more than 10 bytes" in ask(known, SAFE)[SAFE].problem


def test_nobody_else_is_asked_though_the_database_says_so(known: OsvStub) -> None:
    with OsvStub() as other:
        known.moved_to = other.url.replace("http://", "http://me:s3cret@")
        problem = ask(known, SAFE)[SAFE].problem
        assert other.requests == []
    assert "did not answer: it redirects to http://[masked]@" in problem


def test_credentials_are_sent_and_never_shown(known: OsvStub) -> None:
    known.user, known.password = "me", "s3:cret@"
    source = OsvSource(known.url.replace("http://", "http://me:s3%3Acret%40@"))
    assert names(advise([DJANGO], [source])[DJANGO]) == ["PYSEC-2026-1"]
    known.password = "another"
    problem = advise([DJANGO], [source])[DJANGO].problem
    assert problem == f"{known.url} did not answer: 401 Unauthorized"
    known.close()
    problem = advise([DJANGO], [source])[DJANGO].problem
    assert "Connection refused" in problem
    assert "cret" not in problem


def test_an_address_may_have_a_path(known: OsvStub) -> None:
    advise([SAFE], [OsvSource(f"{known.url}/mirror/")])
    assert known.requests == ["/mirror/v1/querybatch"]
