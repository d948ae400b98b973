"""By no way there is to look does code of an index run, and pages never run the resolver."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from deploy_manager.cli.fab.upgrade import upgrade as upgrade_by_fab
from deploy_manager.models import Environment, PolicyRun, Resolution, Upgrade, UpgradePolicy
from deploy_manager.packages.pins import replace_pins
from deploy_manager.requirements.pins import Pin
from deploy_manager.upgrades.arguments import UpgradeArguments
from deploy_manager.upgrades.policies import run_policy
from tests.owners import owned
from tests.parts.admin import url, visitor
from tests.parts.sources import add_trap
from tests.resolutions import answer_all, post_and_wait
from tests.upgrades import Site4

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def marker(four: Site4, tmp_path: Path) -> Path:
    """What code of an index would write: its newest shopkit is source only, and so is brush."""
    marker = tmp_path / "marker"
    four.index.add("shopkit", "1.1", requires=("helper", "brush"))
    add_trap(four.index, "shopkit", "2.0", marker)
    add_trap(four.index, "brush", "1.0", marker)
    return marker


def upgrade_page(site: Site4) -> str:
    sent = {"packages": "shopkit==1.1", "reach": "latest", "soak": 0, "cooldown": 0}
    sent |= {"on_failure": "return", f"turn-{site.environment.pk}": 1, "_plan": 1}
    address = reverse("admin:deploy_manager_upgrade_add")
    page: bytes = post_and_wait(visitor("deployer"), address, sent).content
    return page.decode()


def test_no_way_to_look_runs_what_it_finds(
    four: Site4, marker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("brush\n")
    named = "brush 1.0 has no wheel"
    assert named in upgrade_page(four)
    with pytest.raises(CommandError, match=named):
        call_command("upgrade", "shopkit==1.1", environment=["production"], dry_run=True)
    with pytest.raises(CommandError, match=named):
        upgrade_by_fab(four.environment, UpgradeArguments(("shopkit==1.1",), dry_run=True))
    with pytest.raises(CommandError, match=named):
        call_command("import_requirements", "production", str(file), lock=True)
    policy = UpgradePolicy.objects.create(name="All", how_far="latest", cron="0 0 1 1 *")
    policy.turns.create(environment=four.environment)
    owned(policy)
    assert "Nothing to do" in run_policy(policy).outcome, "the newest that has wheels is 1.0"
    assert PolicyRun.objects.count() == 1
    assert not Upgrade.objects.exists()
    assert not marker.exists()


@pytest.fixture
def no_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that tells who ran it, and does nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    told = tmp_path / "told"
    program = folder / "uv"
    program.write_text(f"#!/bin/sh\necho $PPID >> {told}\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("deploy_manager.requirements.uv.sys.executable", str(folder / "python"))
    return told


def test_pages_have_a_worker_run_the_resolver(four: Site4, no_uv: Path) -> None:
    """The test's own process plays the web server."""
    site = four.environment
    replace_pins(site, [Pin("shopkit", "1.0", hashes=("sha256:" + "0" * 64,))])
    owner = visitor("owner")
    imports = url("environment_requirements", site.pk)
    sent: dict[str, Any] = {"packages": "shopkit", "reach": "latest", "soak": 0, "cooldown": 0}
    sent |= {"on_failure": "return", f"turn-{site.pk}": 1}
    begins = reverse("admin:deploy_manager_upgrade_add")
    for button in ("_plan", "_confirm"):
        answer = owner.post(begins, {**sent, button: 1})
        owner.get(answer.headers["Location"])
    for button in ("_preview", "_save"):
        for asked in ({"text": "shopkit", "lock": "on"}, {"text": "x = 1", "name": "uv.lock"}):
            answer = owner.post(imports, {**asked, button: 1})
            owner.get(answer.headers["Location"])
    owner.get(imports, {"export": "pylock"})
    owner.get(begins, {"package": "shopkit", "environment": str(site.pk)})
    assert not no_uv.exists()
    assert Resolution.objects.count() == 6
    answer_all()
    # An upgrade asks twice: what its pins come to as they are, and where they go.
    assert no_uv.read_text().split() == [str(os.getpid())] * 6
    assert Environment.objects.get(pk=site.pk).requirements.count() == 1
