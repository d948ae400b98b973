"""Every upgrade, whoever asked for it, gives its pins to the repository."""

import subprocess
from io import StringIO

import pytest
from django.core.management import CommandError, call_command, load_command_class

from deploy_manager.models import (
    Environment,
    LockFile,
    Project,
    Release,
    Upgrade,
    UpgradeStage,
    UpgradeState,
)
from tests.parts.admin import url, visitor
from tests.parts.packages import make_environment
from tests.parts.repository import Repository

pytestmark = pytest.mark.django_db

PINS = "helper==1.0\nshopkit==1.0\n"


@pytest.fixture
def upgrade(repository: Repository, db: None) -> Upgrade:
    """One that a person asked for: shopkit went to 1.0.1 on staging and production."""
    commit = repository.commit("Pins", {"requirements.txt": PINS})
    upgrade = Upgrade.objects.create(
        requested_by_name="me", source="admin", wanted=[], state=UpgradeState.SUCCEEDED
    )
    before, after = (
        LockFile.objects.of(version, PINS.replace("shopkit==1.0", f"shopkit=={version}"))
        for version in ("1.0", "1.0.1")
    )
    for number, name in enumerate(("staging", "production"), 1):
        environment = make_environment(name, f"{name}-1")
        UpgradeStage.objects.create(
            upgrade=upgrade,
            environment=environment,
            number=number,
            state=UpgradeState.SUCCEEDED,
            lock_before=before,
            lock_after=after,
            release_before=Release.objects.make(environment, commit, "Pins", before),
            moves=[{"name": "shopkit", "before": "1.0", "after": "1.0.1", "why": "asked for"}],
        )
    Project.objects.update(repository=str(repository.path))
    return upgrade


def patch(*words: str) -> str:
    out = StringIO()
    call_command("upgrade_patch", *words, stdout=out)
    return out.getvalue()


def test_its_page_has_a_patch_for_each_environment_that_keeps_its_pins_in_the_repository(
    upgrade: Upgrade,
) -> None:
    staging, production = upgrade.stages.order_by("number")
    Environment.objects.filter(name="production").update(pins_from=Environment.PinsFrom.ROWS)
    owner = visitor("owner")
    page = owner.get(url("upgrade_change", upgrade.pk)).content.decode()
    assert url("upgradestage_patch", staging.pk) in page
    assert url("upgradestage_patch", production.pk) not in page
    assert b"+shopkit==1.0.1" in owner.get(url("upgradestage_patch", staging.pk)).content


@pytest.mark.parametrize("state", [UpgradeState.ROLLED_BACK, UpgradeState.RUNNING])
def test_what_did_not_succeed_has_none(upgrade: Upgrade, state: UpgradeState) -> None:
    upgrade.stages.update(state=state)
    stage = upgrade.stages.get(number=1)
    page = visitor("owner").get(url("upgrade_change", upgrade.pk)).content.decode()
    assert url("upgradestage_patch", stage.pk) not in page


def test_a_click_keeps_it_as_a_commit_and_shows_how_to_fetch_it(
    upgrade: Upgrade, repository: Repository
) -> None:
    stage = upgrade.stages.get(number=2)
    address = url("upgradestage_commit", stage.pk)
    owner = visitor("owner")
    assert owner.get(address).status_code == 405
    page = owner.post(address, follow=True).content.decode()
    ref = f"refs/deploy-manager/upgrade-{upgrade.pk}-2"
    assert ref in page
    fetch = patch(str(upgrade.pk), "--environment", "production", "--commit").split()
    assert fetch[:2] == ["git", "fetch"]
    subprocess.run([*fetch, "--quiet"], cwd=repository.path, check=True)
    assert "+shopkit==1.0.1" in repository.git("show", "FETCH_HEAD")


def test_only_who_may_deploy_keeps_a_commit(upgrade: Upgrade) -> None:
    stage = upgrade.stages.get(number=1)
    assert visitor("viewer").post(url("upgradestage_commit", stage.pk)).status_code == 403
    assert visitor("stranger").post(url("upgradestage_commit", stage.pk)).status_code == 404


def test_the_command_prints_the_patch_of_the_environment_that_is_named(upgrade: Upgrade) -> None:
    printed = patch(str(upgrade.pk), "--environment", "shop/staging")
    assert "Subject: [PATCH] Upgrade shopkit to 1.0.1" in printed
    assert "of shop/staging." in printed


@pytest.mark.parametrize("way", ["apply", "am"])
def test_it_fits_both_ways_that_the_command_and_the_page_name(
    upgrade: Upgrade, repository: Repository, way: str
) -> None:
    stage = upgrade.stages.get(number=1)
    page = visitor("owner").get(url("upgrade_change", upgrade.pk)).content.decode()
    for shown in (page, load_command_class("deploy_manager", "upgrade_patch").help):
        assert "git apply changes the files" in shown
        assert "git am commits them, too" in shown
    file = repository.path / "upgrade.patch"
    file.write_text(patch(str(upgrade.pk), "--environment", str(stage.environment)))
    repository.git(way, str(file))
    assert "shopkit==1.0.1" in (repository.path / "requirements.txt").read_text()
    is_committed = "Upgrade shopkit to 1.0.1" in repository.git("log", "-1", "--format=%s")
    assert is_committed == (way == "am")


def test_the_command_says_what_it_needs(upgrade: Upgrade) -> None:
    with pytest.raises(CommandError, match=r"--environment: shop/staging, shop/production\."):
        patch(str(upgrade.pk))
    with pytest.raises(CommandError, match="There is no upgrade #999"):
        patch("999")
    upgrade.stages.update(state=UpgradeState.FAILED)
    with pytest.raises(CommandError, match="succeeded on no environment that takes its pins"):
        patch(str(upgrade.pk))


HOSTILE = "why\n---\n--- a/evil\n+++ b/evil\n@@ -0,0 +1 @@\n+evil\n\x1b]0;x\x07"


@pytest.mark.parametrize("field", ["name", "before", "after", "why"])
@pytest.mark.parametrize("words", [HOSTILE, "half of a letter: \ud800", "\0"])
def test_what_a_row_says_stays_words_of_the_message(
    upgrade: Upgrade, field: str, words: str
) -> None:
    stage = upgrade.stages.get(number=1)
    upgrade.stages.update(moves=[{**stage.moves[0], field: words}])
    printed = patch(str(upgrade.pk), "--environment", "staging")
    assert "+shopkit==1.0.1" in printed
    assert not {"\x1b", "\x07", "\0"} & set(printed)
    assert [line for line in printed.splitlines() if line.startswith(("--- ", "+++ "))] == [
        "--- a/requirements.txt",
        "+++ b/requirements.txt",
    ]
