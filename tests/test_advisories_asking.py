"""Several sources of advisories: who is asked, about what, and what stays unknown."""

import json
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from deploy_manager.advisories import asking
from deploy_manager.advisories.advice import Advice, Pair, known_advisory
from deploy_manager.advisories.asking import advise
from deploy_manager.advisories.file_source import FileSource
from deploy_manager.advisories.in_time import each_in_time
from deploy_manager.advisories.osv_source import OsvSource
from deploy_manager.advisories.sources import sources_of
from deploy_manager.exceptions import AdvisoriesUnavailable, ConfigurationError
from tests.parts.osv import OsvStub, advisory

A, B = ("a", "1"), ("b", "1")
BAD = Advice((known_advisory("a", ["GHSA-1"], "Bad.", ["2"]),))
WORSE = Advice((known_advisory("a", ["PYSEC-2"], "Worse.", ["3"]),))


class Told:
    """Says what it was told to say, about the versions that it knows."""

    def __init__(self, name: str = "told", **answers: Advice | Exception) -> None:
        self.name = name
        self.answers = answers
        self.asked: list[list[Pair]] = []

    def advise(self, pairs: Collection[Pair], timeout: float) -> Mapping[Pair, Advice]:
        self.asked.append(list(pairs))
        found: dict[Pair, Advice] = {}
        for pair in pairs:
            match self.answers.get(pair[0]):
                case Advice() as advice:
                    found[pair] = advice
                case Exception() as error:
                    raise error
        return found


def test_the_next_source_is_asked_only_about_what_the_first_left_open() -> None:
    first, second = Told(a=BAD), Told("second", b=Advice())
    assert advise([A, B], [first, second]) == {A: BAD, B: Advice()}
    assert (first.asked, second.asked) == ([[A, B]], [[B]])


def test_nobody_else_is_asked_if_the_first_knows_everything() -> None:
    second = Told("second")
    advise([A], [Told(a=Advice()), second])
    assert second.asked == []


def test_a_source_that_does_not_answer_is_told_apart_from_one_that_does_not_know() -> None:
    away = Told("away", a=AdvisoriesUnavailable("503"))
    assert advise([A], [away])[A] == Advice(problem="away did not answer: 503")
    assert advise([A], [Told("small")])[A] == Advice(
        problem="small does not know this version", knows_version=False
    )
    both = advise([A], [away, Told("small")])[A]
    assert both.problem == "away did not answer: 503; small does not know this version"
    assert both.knows_version


def test_it_is_never_safe_because_nobody_answered() -> None:
    assert advise([A], [])[A].problem == "There is no source of advisories."
    away = [Told(name, a=AdvisoriesUnavailable("down")) for name in ("one", "two")]
    assert advise([A], away)[A].problem == "one did not answer: down; two did not answer: down"


def test_an_answer_after_a_failure_is_marked_as_one_that_stands_in() -> None:
    away, small = Told("away", a=AdvisoriesUnavailable("503")), Told("small")
    assert advise([A], [away, Told(a=Advice())])[A] == Advice(stands_in=True)
    assert advise([A], [small, Told(a=Advice())])[A] == Advice()
    assert advise([A], [away, small, Told(a=Advice())])[A] == Advice(stands_in=True)
    assert advise([A], [small, away, Told(a=Advice())])[A] == Advice(stands_in=True)


def test_what_was_partly_known_is_put_together() -> None:
    partly = Told("partly", a=Advice(BAD.advisories, "a record can't be understood"))
    advice = advise([A], [partly, Told(a=WORSE)])[A]
    assert [one.identifier for one in advice.advisories] == ["GHSA-1", "PYSEC-2"]
    assert advice.problem == ""
    assert advise([A], [partly])[A].problem == "partly: a record can't be understood"


def test_a_source_with_a_bug_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    broken = Told("broken", a=KeyError("vulns"))
    assert advise([A], [broken, Told(a=BAD)])[A].advisories == BAD.advisories
    assert advise([A], [broken])[A].problem == "broken did not answer: KeyError: 'vulns'"
    assert "Traceback" in caplog.text


def test_each_source_has_its_own_time(monkeypatch: pytest.MonkeyPatch, osv: OsvStub) -> None:
    monkeypatch.setattr(asking, "GRACE", 0.1)
    osv.add("GHSA-1", "a")

    class Slow(Told):
        def advise(self, pairs: Collection[Pair], timeout: float) -> Mapping[Pair, Advice]:
            osv.is_over.wait(60)
            return {}

    slow = [Slow("slow"), Slow("slower")]
    began = time.monotonic()
    advice = advise([A], [*slow, OsvSource(osv.url)], timeout=0.5)
    assert [one.identifier for one in advice[A].advisories] == ["GHSA-1"]
    assert time.monotonic() - began < 30
    problem = advise([A], slow, timeout=0.2)[A].problem
    assert problem == (
        "slow did not answer: not within 0.2 s; slower did not answer: not within 0.2 s"
    )


def test_what_had_not_begun_in_time_never_begins(osv: OsvStub) -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number if number else int(osv.is_over.wait(60))

    assert list(each_in_time(work, [1, 0, 2], 0.2)) == [1]
    osv.is_over.set()
    time.sleep(0.1)
    assert begun == [1, 0]


def test_a_secret_in_a_reason_is_masked() -> None:
    away = Told("away", a=AdvisoriesUnavailable("https://me:s3cret@proxy.test is away"))
    assert "https://[masked]@proxy.test" in advise([A], [away])[A].problem


def test_a_file_stands_in_for_a_database(tmp_path: Path, osv: OsvStub) -> None:
    file = tmp_path / "osv.json"
    file.write_text(json.dumps(advisory("GHSA-1", "a", fixed="2")))
    osv.down = True
    advice = advise([A, B], sources_of([osv.url, file]))
    assert [one.identifier for one in advice[A].advisories] == ["GHSA-1"]
    assert advice[B] == Advice(stands_in=True)


class OurSource(Told):
    def __init__(self) -> None:
        super().__init__("ours", a=BAD)


def test_the_setting_names_sources() -> None:
    entries: list[str | Path] = [
        "https://me:s3cret@osv.test/",
        Path("/srv/osv.zip"),
        f"{__name__}.OurSource",
    ]
    osv, file, ours = sources_of(entries)
    assert isinstance(osv, OsvSource)
    assert isinstance(file, FileSource)
    assert [each.name for each in (osv, file, ours)] == ["https://osv.test", "osv.zip", "ours"]
    assert advise([A], [ours]) == {A: BAD}


def test_a_source_that_can_not_be_imported_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"shop\.osv\.Ours can't be imported: No module"):
        sources_of(["shop.osv.Ours"])
