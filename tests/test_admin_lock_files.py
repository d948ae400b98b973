"""Locks in the admin: downloaded, and compared with each other."""

import pytest

from deploy_manager.models import LockFile
from deploy_manager.requirements.pins import lock_digest
from deploy_manager.requirements.reading import read_pins
from tests.parts.admin import url, visitor

BEFORE, AFTER = "django==5.2.1\nsqlparse==0.5.1\n", "django==5.2.3\nsqlparse==0.5.1\n"


@pytest.fixture
def locks(db: None) -> list[LockFile]:
    return [LockFile.objects.of(lock_digest(text), text) for text in (BEFORE, AFTER)]


def test_a_lock_is_downloaded_as_a_file_that_reads_back(locks: list[LockFile]) -> None:
    owner = visitor("owner")
    address = url("lockfile_download", locks[1].pk)
    assert address in owner.get(url("lockfile_change", locks[1].pk)).content.decode()
    answer = owner.get(address)
    assert 'filename="requirements.txt"' in answer["Content-Disposition"]
    assert read_pins(answer.content.decode()) == read_pins(AFTER)
    assert visitor("stranger").get(address).status_code == 404


def test_two_locks_are_compared(locks: list[LockFile]) -> None:
    owner = visitor("owner")
    before, after = locks
    address = url("lockfile_comparison", after.pk, before.pk)
    assert address in owner.get(url("lockfile_change", after.pk)).content.decode()
    page = owner.get(address).content.decode()
    assert "5.2.1" in page
    assert "5.2.3" in page
    assert "sqlparse" not in page
    assert (
        "The versions are the same"
        in owner.get(url("lockfile_comparison", after.pk, after.pk)).content.decode()
    )
    assert visitor("stranger").get(address).status_code == 404
