"""What is known against versions, asked of a server on loopback that speaks as PyPI does."""

import json
from typing import Any

import pytest

from deploy_manager.advisories.advice import Advice, KnownAdvisory, Pair
from deploy_manager.advisories.asking import advise
from deploy_manager.advisories.osv_source import OsvSource
from deploy_manager.advisories.pypi_source import ADDRESS, PypiSource
from deploy_manager.advisories.sources import sources_of
from tests.parts.osv import OsvStub

DJANGO, FLASK = ("django", "5.2.1"), ("flask", "3.0")


def vulnerability(identifier: str, **facts: Any) -> dict[str, Any]:
    """As https://warehouse.pypa.io/api-reference/json.html shows it."""
    return {
        "id": identifier,
        "aliases": [],
        "summary": "",
        "details": "It can be\nbroken into.",
        "fixed_in": ["5.2.8"],
        "withdrawn": None,
        **facts,
    }


def publish(pypi: OsvStub, pair: Pair, *vulnerabilities: Any) -> None:
    content = {"info": {"name": pair[0]}, "vulnerabilities": list(vulnerabilities)}
    pypi.bodies[path_of(pair)] = json.dumps(content).encode()


def path_of(pair: Pair) -> str:
    return f"/pypi/{pair[0]}/{pair[1]}/json"


def ask(pypi: OsvStub, *pairs: Pair, timeout: float = 60) -> dict[Pair, Advice]:
    return advise(pairs, [PypiSource(pypi.url)], timeout)


def test_a_version_has_the_advisories_that_pypi_shows_with_it(osv: OsvStub) -> None:
    one = vulnerability("GHSA-aaaa", aliases=["CVE-2026-1"])
    same = vulnerability("PYSEC-2026-1", aliases=["CVE-2026-1"], summary="Bad SQL.")
    publish(osv, DJANGO, one, same, vulnerability("GHSA-gone", withdrawn="2026-02-01T00:00:00Z"))
    publish(osv, FLASK)

    advice = ask(osv, ("Django", "5.2.1+local"), FLASK)

    assert advice[FLASK] == Advice()
    assert advice["Django", "5.2.1+local"] == Advice(
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


def test_it_stands_in_for_a_database_that_does_not_answer(osv: OsvStub) -> None:
    publish(osv, DJANGO, vulnerability("GHSA-aaaa"))
    with OsvStub() as down:
        down.down = True
        advice = advise([DJANGO], [OsvSource(down.url), PypiSource(osv.url)])[DJANGO]

    assert [one.summary for one in advice.advisories] == ["It can be broken into."]
    assert not advice.problem
    assert advice.stands_in


def test_a_version_that_pypi_does_not_have_is_unknown(osv: OsvStub) -> None:
    publish(osv, DJANGO)

    advice = ask(osv, DJANGO, ("of-our-own", "1!1.0"))

    assert advice[DJANGO] == Advice()
    problem = f"{osv.url} does not know this version"
    assert advice["of-our-own", "1!1.0"] == Advice(problem=problem, knows_version=False)
    assert "/pypi/of-our-own/1%211.0/json" in osv.requests


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"vulnerabilities": None},
        {"vulnerabilities": {}},
        {"vulnerabilities": ["GHSA-a"]},
        {"vulnerabilities": [vulnerability("GHSA-a", aliases="CVE-2026-1")]},
        {"vulnerabilities": [vulnerability("GHSA-a", fixed_in=None)]},
        {"vulnerabilities": [vulnerability("GHSA-a", id=None)]},
    ],
)
def test_an_answer_that_is_not_understood_is_unknown(osv: OsvStub, content: Any) -> None:
    osv.bodies[path_of(DJANGO)] = json.dumps(content).encode()
    assert "its answer can't be understood" in ask(osv, DJANGO)[DJANGO].problem


def test_what_was_understood_is_shown(osv: OsvStub) -> None:
    publish(osv, DJANGO, vulnerability("GHSA-a"), {})
    advice = ask(osv, DJANGO)[DJANGO]
    assert [one.identifier for one in advice.advisories] == ["GHSA-a"]
    assert "can't be understood: KeyError" in advice.problem


def test_one_version_without_an_answer_leaves_the_others_theirs(osv: OsvStub) -> None:
    publish(osv, DJANGO)
    osv.bodies[path_of(FLASK)] = b"<html>"

    advice = ask(osv, DJANGO, FLASK)

    assert advice[DJANGO] == Advice()
    assert "no answer about this version: its answer is not JSON" in advice[FLASK].problem


def test_a_version_whose_answer_is_late_is_unknown(osv: OsvStub) -> None:
    publish(osv, DJANGO)
    publish(osv, FLASK)
    osv.waits[path_of(FLASK)] = 60

    advice = ask(osv, DJANGO, FLASK, timeout=3)

    assert advice[DJANGO] == Advice()
    assert "no answer about this version" in advice[FLASK].problem


def test_without_any_answer_it_did_not_answer(osv: OsvStub) -> None:
    osv.down = True
    advice = ask(osv, DJANGO, FLASK)
    problem = f"{osv.url} did not answer: 503 Service Unavailable"
    assert {one.problem for one in advice.values()} == {problem}


def test_the_setting_names_it_by_its_class() -> None:
    (source,) = sources_of(["deploy_manager.advisories.pypi_source.PypiSource"])
    assert isinstance(source, PypiSource)
    assert source.name == ADDRESS
