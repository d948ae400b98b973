"""What an upgrade installed comes back to the repository: as a commit of ours, and as a patch."""

import subprocess

import pytest

from deploy_manager.exceptions import CodeError, PinError
from deploy_manager.git.mirror import Mirror
from deploy_manager.models import (
    Environment,
    Project,
    Release,
    Upgrade,
    UpgradePolicy,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.packages.repository import mirror_of
from deploy_manager.reconcile import reconcile
from deploy_manager.upgrades.handing_back import hand_back, patch_of
from tests.parts.admin import url, visitor
from tests.parts.repository import Repository
from tests.policies import Watched

pytestmark = pytest.mark.django_db(transaction=True)

PINS = "# The shop's pins\nhelper==1.0\nshopkit==1.0  # paid for\n"


@pytest.fixture
def kept(watched: Watched, repository: Repository) -> Watched:
    """The site's pins are in its repository, and its policy hands them back."""
    commit = repository.commit("Pins", {"requirements.txt": PINS})
    Project.objects.update(repository=str(repository.path))
    Release.objects.update(commit=commit)
    watched.change(hand_back=UpgradePolicy.HandBack.BRANCH)
    watched.is_vulnerable()
    return watched


def succeed(kept: Watched) -> Upgrade:
    """Let the policy upgrade, successfully, and let the reconcile loop see it."""
    kept.run()
    upgrade = kept.end(UpgradeState.SUCCEEDED)
    reconciled()
    return upgrade


def reconciled() -> None:
    reconcile(lambda shard_id: None, look=lambda run_id: None)


def show(mirror: Mirror, *words: str) -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(mirror.folder), *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.database
def test_a_success_is_committed_on_what_was_deployed(kept: Watched, repository: Repository) -> None:
    deployed = repository.head
    repository.commit("Newer", {"b.txt": "2"})
    upgrade = succeed(kept)
    mirror = mirror_of(Project.objects.get())
    ref = f"refs/deploy-manager/upgrade-{upgrade.pk}"
    assert show(mirror, "rev-parse", f"{ref}^").strip() == deployed
    new = PINS.replace("shopkit==1.0", "shopkit==1.0.1")
    assert show(mirror, "show", f"{ref}:requirements.txt") == new
    message = show(mirror, "log", "-1", "--format=%B", ref)
    assert message.startswith("Upgrade shopkit to 1.0.1\n\n- shopkit 1.0 -> 1.0.1: ")
    assert "fixes PYSEC-1" in message
    assert f"Upgrade #{upgrade.pk} of shop/production." in message
    assert f"the pins for shop are in {ref} of {mirror.folder} on " in kept.last.outcome


@pytest.mark.database
def test_it_is_done_once_and_told_once(kept: Watched) -> None:
    upgrade = succeed(kept)
    told = kept.last.outcome
    reconciled()
    assert kept.last.outcome == told
    assert told.count(f"Upgrade #{upgrade.pk} succeeded") == 1


@pytest.mark.parametrize("state", [UpgradeState.FAILED, UpgradeState.ROLLED_BACK])
def test_what_did_not_succeed_is_not_handed_back(kept: Watched, state: UpgradeState) -> None:
    kept.run()
    kept.end(state)
    told = kept.last.outcome
    reconciled()
    assert kept.last.outcome == told


def test_nothing_is_handed_back_unless_the_policy_says_so(kept: Watched) -> None:
    kept.change(hand_back=UpgradePolicy.HandBack.NONE)
    succeed(kept)
    assert "refs/" not in kept.last.outcome


def test_a_repository_that_is_gone_is_reported_and_not_asked_again(
    kept: Watched, repository: Repository
) -> None:
    Project.objects.update(repository=str(repository.path.parent / "gone"))
    upgrade = succeed(kept)
    told = kept.last.outcome
    assert f"not handed back to shop (refs/deploy-manager/upgrade-{upgrade.pk}): " in told
    assert "can't be reached" in told
    reconciled()
    assert kept.last.outcome == told


def test_pins_that_are_no_ones_but_the_environments_are_not_handed_back(kept: Watched) -> None:
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    upgrade = succeed(kept)
    assert f"Upgrade #{upgrade.pk} has nothing to hand back" in kept.last.outcome
    with pytest.raises(CodeError, match="lists its pins itself"):
        patch_of(upgrade.stages.get())


@pytest.mark.database
def test_who_comes_second_writes_nothing(kept: Watched) -> None:
    kept.run()
    upgrade = kept.end(UpgradeState.SUCCEEDED)
    seen_before = Upgrade.objects.select_related("policy_run").get(pk=upgrade.pk)
    assert hand_back(upgrade)
    assert not hand_back(seen_before)


def test_a_stage_is_a_patch_that_can_be_applied(kept: Watched, repository: Repository) -> None:
    upgrade = succeed(kept)
    patch = patch_of(upgrade.stages.get())
    assert b"Subject: [PATCH] Upgrade shopkit to 1.0.1" in patch
    file = repository.path.parent / "upgrade.patch"
    file.write_bytes(patch)
    repository.git("apply", "--index", str(file))
    changed = repository.git("diff", "--cached", "--unified=0").splitlines()
    assert [line for line in changed if line.startswith("-shop")] == [
        "-shopkit==1.0  # paid for",
    ]
    assert "shopkit==1.0.1" in (repository.path / "requirements.txt").read_text()


def test_a_file_that_cannot_say_what_is_installed_gives_no_patch(
    kept: Watched, repository: Repository
) -> None:
    files = {"requirements.txt": "-r base.txt\n", "base.txt": PINS}
    Release.objects.update(commit=repository.commit("Two files", files))
    kept.run()
    with pytest.raises(
        PinError, match=r"requirements\.txt can't be patched: it also takes pins from base\.txt"
    ):
        patch_of(UpgradeStage.objects.select_related("upgrade").get())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_file_keeps_its_encoding_and_its_line_ends(
    kept: Watched, repository: Repository, encoding: str
) -> None:
    file = repository.path / "requirements.txt"
    file.write_bytes(f"# caf\xe9\r\n{PINS}".replace("\n", "\r\n").encode(encoding))
    Release.objects.update(commit=repository.commit("Old", {"b.txt": "2"}))
    kept.run()
    patch = patch_of(UpgradeStage.objects.select_related("upgrade").get())
    (repository.path / "b.patch").write_bytes(patch)
    repository.git("apply", "b.patch")
    changed = file.read_bytes()
    assert b"shopkit==1.0.1" in changed
    assert "# caf\xe9".encode(encoding) in changed
    assert changed.count(b"\r\n") == changed.count(b"\n")


def test_patches_are_downloaded_by_those_who_may_see_the_environment(kept: Watched) -> None:
    upgrade = succeed(kept)
    stage = upgrade.stages.get()
    owner = visitor("owner")
    address = url("upgradestage_patch", stage.pk)
    run_page = owner.get(url("policyrun_change", kept.last.pk)).content.decode()
    assert f'<a href="{address}">#{upgrade.pk} shop/production</a>' in run_page
    assert f'href="{address}"' in owner.get(url("upgrade_change", upgrade.pk)).content.decode()
    answer = owner.get(address)
    assert b"+shopkit==1.0.1" in answer.content
    assert f"upgrade-{upgrade.pk}-production.patch" in answer["Content-Disposition"]
    assert visitor("stranger").get(address).status_code == 404
    assert owner.get(url("upgradestage_patch", stage.pk + 1)).status_code == 404


def test_why_there_is_no_patch_is_reported(kept: Watched) -> None:
    upgrade = succeed(kept)
    Environment.objects.update(pins_from=Environment.PinsFrom.ROWS)
    answer = visitor("owner").get(url("upgradestage_patch", upgrade.stages.get().pk))
    assert answer.status_code == 409
    assert "lists its pins itself" in answer.content.decode()
