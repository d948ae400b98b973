"""Advisories from a file: the same verdicts as the database's, and doubt where it can't be read."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy_manager.advisories.advice import Advice, Pair
from deploy_manager.advisories.asking import advise
from deploy_manager.advisories.file_source import FileSource
from deploy_manager.advisories.osv_source import OsvSource
from tests.parts.matrices import few
from tests.parts.osv import OsvStub, Record, advisory

Put = Callable[[Path, list[Record]], Path]


def put_in_a_list(folder: Path, records: list[Record]) -> Path:
    path = folder / "advisories.json"
    path.write_text(json.dumps(records))
    return path


def put_in_a_folder(folder: Path, records: list[Record]) -> Path:
    path = folder / "advisories"
    for record in records:
        (path / "deeper").mkdir(parents=True, exist_ok=True)
        (path / "deeper" / f"{record['id']}.json").write_text(json.dumps(record))
    return path


def put_in_a_zip(folder: Path, records: list[Record]) -> Path:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for record in records:
            archive.writestr(f"{record['id']}.json", json.dumps(record))
    return path


TABLE = [
    advisory("GHSA-a", "Django", introduced="4.2", fixed="4.2.9", aliases=("CVE-2026-1",)),
    advisory("PYSEC-1", "django", introduced="4.2", fixed="4.2.9", aliases=("CVE-2026-1",)),
    advisory("GHSA-b", "django", introduced="5.0", last_affected="5.1"),
    advisory("GHSA-c", "flask", versions=("2.0", "2.2")),
    advisory("GHSA-d", "flask", fixed="99", withdrawn="2026-02-01T00:00:00Z"),
    advisory("GHSA-e", "pre-release", introduced="0", fixed="1.0"),
]
PAIRS = [
    *(("django", version) for version in ("4.1", "4.2", "4.2.8", "4.2.9", "5.0", "5.1", "5.1.1")),
    *(("flask", version) for version in ("2.0.0", "2.1", "2.2")),
    *(("pre_release", version) for version in ("0.dev0", "1.0rc1", "1.0", "1.0.post1")),
    ("absent", "1.0"),
]


def ask(path: Path, *pairs: Pair, timeout: float = 60) -> dict[Pair, Advice]:
    return advise(pairs, [FileSource(path)], timeout)


@pytest.mark.parametrize("put", few(put_in_a_list, put_in_a_folder, put_in_a_zip))
def test_a_file_says_what_the_database_says(tmp_path: Path, osv: OsvStub, put: Put) -> None:
    osv.records = TABLE
    by_file = ask(put(tmp_path, TABLE), *PAIRS)
    assert by_file == advise(PAIRS, [OsvSource(osv.url)])
    assert [
        (*pair, *(one.identifier for one in advice.advisories))
        for pair, advice in by_file.items()
        if advice.advisories or advice.problem
    ] == [
        ("django", "4.2", "PYSEC-1"),
        ("django", "4.2.8", "PYSEC-1"),
        ("django", "5.0", "GHSA-b"),
        ("django", "5.1", "GHSA-b"),
        ("flask", "2.0.0", "GHSA-c"),
        ("flask", "2.2", "GHSA-c"),
        ("pre_release", "0.dev0", "GHSA-e"),
        ("pre_release", "1.0rc1", "GHSA-e"),
    ]


def test_every_line_of_versions_has_its_own_fix(tmp_path: Path) -> None:
    record = advisory("PYSEC-1", "django", fixed="4.2.9")
    record["affected"][0]["ranges"][0]["events"] += [{"introduced": "5.0"}, {"fixed": "5.0.2"}]
    record["affected"] += advisory("x", "django", introduced="5.1", fixed="5.1.1")["affected"]
    advice = ask(_file(tmp_path, record), ("django", "5.0.1"), ("django", "4.2.9"))
    assert advice[("django", "5.0.1")].advisories[0].fixed_in == ("4.2.9", "5.0.2", "5.1.1")
    assert not advice[("django", "4.2.9")].advisories


def test_a_local_version_is_as_vulnerable_as_the_public_one(tmp_path: Path) -> None:
    path = _file(tmp_path, advisory("GHSA-a", "torch", last_affected="2.0"))
    assert ask(path, ("torch", "2.0+cpu"))[("torch", "2.0+cpu")].advisories


def test_what_is_of_another_ecosystem_is_not_meant(tmp_path: Path) -> None:
    record = advisory("GHSA-a", "django", fixed="9")
    record["affected"][0]["package"]["ecosystem"] = "npm"
    path = _file(tmp_path, record)
    assert not ask(path, ("django", "5.0"))[("django", "5.0")].advisories


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "advisories.json is not an OSV record: JSONDecodeError"),
        ("[]", "holds no OSV record"),
        ("[1]", "is not an OSV record"),
        ('{"summary": "no name"}', "is not an OSV record: KeyError 'id'"),
        ('{"id": "A", "schema_version": "2.0"}', "another major version of the schema"),
        ('{"id": "A", "affected": [{"package": {"ecosystem": "PyPI"}}]}', "KeyError 'name'"),
    ],
)
def test_a_file_that_is_not_understood_makes_everything_unknown(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "advisories.json"
    path.write_text(content)
    advice = ask(path, ("a", "1"), ("b", "1"))
    assert all(problem in one.problem for one in advice.values())


def test_a_file_that_is_not_there_makes_everything_unknown(tmp_path: Path) -> None:
    advice = ask(tmp_path / "nowhere.json", ("a", "1"))
    assert "nowhere.json did not answer: it can't be read: " in advice[("a", "1")].problem


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "SEMVER", "events": [{"introduced": "0"}]},
        {"type": "ECOSYSTEM", "events": [{"introduced": "not a version"}]},
        {"events": []},
    ],
)
def test_a_record_that_is_not_understood_makes_its_package_unknown(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    record = advisory("GHSA-bad", "django")
    record["affected"][0]["ranges"] = [bad]
    path = put_in_a_list(tmp_path, [record, advisory("GHSA-good", "django", fixed="9")])
    advice = ask(path, ("django", "5.0"), ("flask", "1.0"))
    assert "GHSA-bad can't be understood" in advice[("django", "5.0")].problem
    assert [one.identifier for one in advice[("django", "5.0")].advisories] == ["GHSA-good"]
    assert not advice[("flask", "1.0")].problem


def test_a_broken_zip_makes_everything_unknown(tmp_path: Path) -> None:
    path = put_in_a_zip(tmp_path, TABLE)
    content = bytearray(path.read_bytes())
    content[40:60] = b"?" * 20
    path.write_bytes(content)
    assert "can't be read" in ask(path, ("a", "1"))[("a", "1")].problem


def _file(folder: Path, record: Record) -> Path:
    return put_in_a_list(folder, [record])
