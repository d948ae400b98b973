"""What is known against versions is asked of a database, and what it does not say stays unknown."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from deploy_manager.models import (
    Advisory,
    AuditedVersion,
    Environment,
    InstalledPackage,
    LockFile,
    Placement,
    Release,
    Requirement,
)
from deploy_manager.packages.auditing import audit, is_audit_due
from tests.inventory import Inventory
from tests.parts.osv import OsvStub, advisory

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]
UNKNOWN, VULNERABLE, CLEAN = AuditedVersion.Verdict


@pytest.fixture
def placement(inventory: Inventory, osv: OsvStub, settings: Settings) -> Placement:
    """A server that has django 5.2.7, and advisories on loopback."""
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "ADVISORIES": [osv.url]}
    placement = inventory.environment.placements.get()
    InstalledPackage.objects.create(placement=placement, name="django", version="5.2.7")
    return placement


def verdict(name: str, version: str) -> str:
    return AuditedVersion.objects.get(name=name, version=version).verdict


def long_ago(**ago: int) -> None:
    then = timezone.now() - timedelta(**ago)
    AuditedVersion.objects.update(tried_at=then)
    AuditedVersion.objects.exclude(checked_at=None).update(checked_at=then)


def known_against(name: str) -> set[str]:
    versions = AuditedVersion.objects.filter(name=name)
    return set(versions.values_list("advisories__identifier", flat=True)) - {None}


def test_an_advisory_is_found_with_its_fixes_and_names(placement: Placement, osv: OsvStub) -> None:
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8", aliases=("CVE-2026-1",), summary="Bad.")
    Requirement.objects.create(environment=placement.environment, name="rich", version="14.0")
    assert is_audit_due()
    assert audit() == 2
    assert (verdict("django", "5.2.7"), verdict("rich", "14.0")) == (VULNERABLE, CLEAN)
    advisory = Advisory.objects.get()
    assert (advisory.identifier, advisory.package) == ("PYSEC-2026-1", "django")
    assert (advisory.fixed_in, advisory.aliases) == (["5.2.8"], ["CVE-2026-1"])
    assert advisory.summary == "Bad."
    assert not is_audit_due()


def test_the_pins_of_a_lock_that_serves_are_checked_and_of_no_other(placement: Placement) -> None:
    environment = placement.environment
    for name in ("serves", "rests"):
        lock = LockFile.objects.of(name.ljust(64, "0"), f"{name}==1.0\n")
        Release.objects.create(environment=environment, name=name, commit="c" * 40, lock=lock)
    placement.active_release = Release.objects.get(name="serves")
    placement.save()
    audit()
    names = AuditedVersion.objects.values_list("name", flat=True)
    assert set(names) == {"django", "serves"}


def test_a_check_that_failed_leaves_it_unknown_and_is_made_again_soon(
    placement: Placement, osv: OsvStub
) -> None:
    osv.down = True
    audit()
    row = AuditedVersion.objects.get()
    assert (row.verdict, row.checked_at) == (UNKNOWN, None)
    assert "did not answer" in row.problem
    assert not is_audit_due()
    long_ago(minutes=16)
    osv.down = False
    assert is_audit_due()
    audit()
    assert verdict("django", "5.2.7") is CLEAN


def test_a_later_check_that_fails_cures_nothing(placement: Placement, osv: OsvStub) -> None:
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    audit()
    checked_at = AuditedVersion.objects.get().checked_at
    osv.down = True
    audit(is_forced=True)
    row = AuditedVersion.objects.get()
    assert row.problem
    assert row.checked_at == checked_at
    assert row.verdict is VULNERABLE


def test_a_file_that_stands_in_cures_nothing(
    placement: Placement, osv: OsvStub, settings: Settings, tmp_path: Path
) -> None:
    old = tmp_path / "osv.json"
    old.write_text(json.dumps([advisory("PYSEC-2025-9", "django", fixed="5.2.9")]))
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "ADVISORIES": [osv.url, str(old)]}
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    audit()
    osv.down = True
    audit(is_forced=True)
    assert known_against("django") == {"PYSEC-2026-1", "PYSEC-2025-9"}
    assert AuditedVersion.objects.get().is_checked
    osv.down = False
    audit(is_forced=True)
    assert known_against("django") == {"PYSEC-2026-1"}


def test_a_source_that_is_not_there_leaves_everything_unknown(
    placement: Placement, settings: Settings
) -> None:
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "ADVISORIES": ["shop.osv.Ours"]}
    audit()
    row = AuditedVersion.objects.get()
    assert row.verdict is UNKNOWN
    assert "shop.osv.Ours can't be imported" in row.problem


def test_one_bad_answer_hides_no_other(placement: Placement, osv: OsvStub) -> None:
    InstalledPackage.objects.create(placement=placement, name="rich", version="14.0")
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    osv.garbage["rich"] = "<html>"
    audit()
    assert (verdict("django", "5.2.7"), verdict("rich", "14.0")) == (VULNERABLE, UNKNOWN)


def test_what_is_withdrawn_is_taken_back_and_what_changed_is_brought_up_to_date(
    placement: Placement, osv: OsvStub
) -> None:
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8")
    osv.add("PYSEC-2026-2", "django")
    audit()
    first_seen = Advisory.objects.get(identifier="PYSEC-2026-2").first_seen_at
    assert known_against("django") == {"PYSEC-2026-1", "PYSEC-2026-2"}
    osv.records = []
    osv.add("PYSEC-2026-2", "django", fixed="5.2.9", summary="Worse.")
    audit(is_forced=True)
    assert known_against("django") == {"PYSEC-2026-2"}
    told = Advisory.objects.get(identifier="PYSEC-2026-2")
    assert (told.fixed_in, told.summary) == (["5.2.9"], "Worse.")
    assert told.first_seen_at == first_seen


def test_an_advisory_that_gets_a_better_name_is_no_new_one(
    placement: Placement, osv: OsvStub
) -> None:
    osv.add("GHSA-aaaa", "django", fixed="5.2.8")
    audit()
    osv.records = []
    osv.add("PYSEC-2026-1", "django", fixed="5.2.8", aliases=("GHSA-aaaa",))
    audit(is_forced=True)
    advisory = Advisory.objects.get()
    assert {advisory.identifier, *advisory.aliases} == {"GHSA-aaaa", "PYSEC-2026-1"}


def test_one_name_told_of_two_packages_keeps_the_fixes_of_each(
    placement: Placement, osv: OsvStub
) -> None:
    InstalledPackage.objects.create(placement=placement, name="django-fork", version="1.0")
    record = osv.add("CVE-2026-1", "django", fixed="5.2.8")
    record["affected"] += advisory("", "django-fork", fixed="1.1")["affected"]
    audit()
    audit(is_forced=True)
    fixed_in = dict(Advisory.objects.values_list("package", "fixed_in"))
    assert fixed_in == {"django": ["5.2.8"], "django-fork": ["1.1"]}
    assert [each.identifier for each in Advisory.objects.all()] == ["CVE-2026-1", "CVE-2026-1"]


def test_what_was_checked_lately_is_not_asked_again(placement: Placement, osv: OsvStub) -> None:
    audit()
    assert audit() == 0
    assert osv.asked["django", "5.2.7"] == 1
    long_ago(hours=7)
    assert is_audit_due()
    assert audit(limit=1) == 1
    assert osv.asked["django", "5.2.7"] == 2


def test_only_some_environments_are_checked(placement: Placement, osv: OsvStub) -> None:
    project = placement.environment.project
    other = Environment.objects.create(project=project, name="other", deploy_path="/srv/other")
    Requirement.objects.create(environment=other, name="rich", version="14.0")
    assert audit(environments=[other]) == 1
    assert osv.asked["django", "5.2.7"] == 0
