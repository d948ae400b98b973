"""What is known against pinned versions: asked by the real pip-audit of a database on loopback."""

import sys
from pathlib import Path

import pytest

from deploy_manager.requirements.advice import Advice, KnownAdvisory
from deploy_manager.requirements.advising import advise
from tests.parts.osv import OsvStub

DJANGO = ("django", "5.2.1")
SAFE = ("asgiref", "3.8.1")


@pytest.fixture
def known(osv: OsvStub) -> OsvStub:
    """One vulnerability of Django, by two names."""
    osv.add("GHSA-aaaa", "django", fixed="5.2.8", aliases=("CVE-2026-1",))
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8", aliases=("CVE-2026-1",), summary="Bad\nSQL.")
    return osv


def test_a_vulnerability_is_told_once_with_the_version_that_mends_it(known: OsvStub) -> None:
    advice = advise([DJANGO, SAFE], known.url)
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
    advice = advise([DJANGO, ("django", "5.2.8"), ("django", "5.2.9")], known.url)
    assert [bool(one.advisories) for one in advice.values()] == [True, False, False]


def test_pairs_are_answered_as_they_were_asked(known: OsvStub) -> None:
    pairs = [("Django", "5.2.1"), ("DJANGO", "5.2.1.0"), ("zope_interface", "7.0+local.1")]
    advice = advise(pairs, known.url)
    assert list(advice) == pairs
    assert [len(one.advisories) for one in advice.values()] == [1, 1, 0]
    assert not any(one.problem for one in advice.values())


def test_what_was_withdrawn_is_no_advisory(osv: OsvStub) -> None:
    osv.add("GHSA-gone", "django", fixed="6", withdrawn="2026-02-01T00:00:00Z")
    assert advise([DJANGO], osv.url) == {DJANGO: Advice()}


@pytest.mark.parametrize("pair", [("-r /etc/passwd\nevil", "1"), ("old", "2004-a.b"), ("", "")])
def test_what_is_no_name_and_version_is_unknown_and_never_asked(
    known: OsvStub, pair: tuple[str, str]
) -> None:
    advice = advise([pair, DJANGO], known.url)
    assert "no name and version" in advice[pair].problem
    assert advice[DJANGO].advisories
    assert list(known.asked) == [DJANGO]


def test_when_the_database_is_down_everything_is_unknown(known: OsvStub) -> None:
    known.down = True
    pairs = [(f"package-{number}", "1.0") for number in range(100)]
    advice = advise([*pairs, DJANGO], known.url)
    assert all("503 Server Error" in advice[pair].problem for pair in [*pairs, DJANGO])
    assert known.asked.total() < 12, "a dead database is not asked for each"


def test_where_nobody_listens_everything_is_unknown(osv: OsvStub) -> None:
    osv.close()
    assert "Connection refused" in advise([SAFE], osv.url)[SAFE].problem


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html>Log in to the guest network</html>",
        b'{"vulns": "many"}',
        b'{"next_page_token": "later"}',
        b'{"vulns": [{"id": "NEW-1", "schema_version": "2.0.0"}]}',
        b'{"vulns": [{"id": "BARE-1"}]}',
    ],
)
def test_one_bad_answer_makes_one_version_unknown(known: OsvStub, garbage: bytes) -> None:
    known.garbage["bad"] = garbage
    pairs = [("a", "1"), ("bad", "1"), ("c", "1"), DJANGO]
    advice = advise(pairs, known.url)
    assert [bool(one.problem) for one in advice.values()] == [False, True, False, False]
    assert advice[DJANGO].advisories


def test_what_is_known_stays_where_a_part_was_not_understood(known: OsvStub) -> None:
    known.add("NEW-1", "django", fixed="6")["schema_version"] = "2.0.0"
    advice = advise([DJANGO], known.url)[DJANGO]
    assert "Unsupported OSV schema version: 2.0.0" in advice.problem
    assert advice.advisories


def test_what_pip_audit_skipped_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    told = '{"dependencies": [{"name": "asgiref", "skip_reason": "not found"}], "fixes": []}'
    program.write_text(f"#!/bin/sh\necho '{told}'\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    assert advise([SAFE])[SAFE].problem == "The check gave no answer about this version."


def test_a_database_that_hangs_is_left_in_time(known: OsvStub) -> None:
    known.waits["*"] = 60.0
    advice = advise([DJANGO, SAFE], known.url, timeout=1.5)
    assert {one.problem for one in advice.values()} == {
        "Advisories could not be asked for: not within 1.5 s"
    }


def test_without_pip_audit_everything_is_unknown(
    monkeypatch: pytest.MonkeyPatch, bare_venv: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(bare_venv / "bin" / "python"))
    assert "No module named pip_audit" in advise([SAFE])[SAFE].problem


def test_credentials_are_used_and_neither_told_nor_on_a_command_line(
    known: OsvStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands, program = tmp_path / "commands", tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho "$@" >> {commands}\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    known.user = "me"
    address = known.url.replace("http://", "http://me:s3cret@")
    assert advise([DJANGO], address)[DJANGO].advisories
    known.down = True
    problem = advise([DJANGO], address)[DJANGO].problem
    assert "503" in problem
    assert "s3cret" not in problem + commands.read_text()


def test_the_environment_of_the_worker_changes_no_answer(
    known: OsvStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_AUDIT_OUTPUT", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", "http://127.0.0.1:9/")
    (tmp_path / "pip_audit.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert advise([DJANGO], known.url)[DJANGO].advisories
