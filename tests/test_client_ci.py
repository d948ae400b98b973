"""The examples of docs/deploy-from-ci.md run as they are, by shells that play the runners."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.manager import Manager
from tests.parts.new_project import FENCE, TOP
from tests.parts.repository import Repository
from tests.parts.runners import GitHub, GitLab, Runner, check_out

PAGE = (TOP / "docs/deploy-from-ci.md").read_text()
ADD_USER = """
from django.contrib.auth.models import Permission, User
from deploy_manager.models.rights import Right
names = [Right.VIEW, Right.VIEW_LOG, Right.DEPLOY, Right.REPORT]
names += [Right.VIEW_SERVER, Right.USE_SERVER]
ci = User.objects.create_user("ci")
ci.user_permissions.set(Permission.objects.filter(codename__in=[each.codename for each in names]))
Environment.objects.filter(name="production").update(required_statuses=["tests"])
"""


def block(name: str) -> str:
    """Return a file of the page; or what is typed, by its language."""
    blocks = FENCE.finditer(PAGE)
    return next(each["text"] for each in blocks if name in (each["file"], each["language"]))


@pytest.fixture(scope="module")
def token(live_manager: Manager) -> str:
    """What the line of the page prints."""
    live_manager.python(ADD_USER)
    line = block("sh").replace("manage.py", f"{sys.executable} manage.py", 1)
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=live_manager.project.folder,
        env=live_manager.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return next(word for word in done.stdout.split() if word.startswith("dm_"))


@pytest.fixture
def machine(
    live_manager: Manager, client_wheel: Path, token: str, tmp_path: Path
) -> dict[str, dict[str, str]]:
    """What a runner has: a Python of its own, and what was entered at the forge."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "python")], check=True)
    unwanted = ("DJANGO_", "DEPLOY_MANAGER_", "PYTHON", "REQUESTS_", "CURL_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(unwanted)}
    # Whom the runner trusts: the manager's authority; pip, which asks elsewhere, what it did.
    kept.setdefault("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    return {
        "environ": {
            **kept,
            "PATH": f"{tmp_path / 'python/bin'}{os.pathsep}{kept['PATH']}",
            "SSL_CERT_FILE": str(live_manager.authority.bundle),
        },
        "variables": {
            "DEPLOY_MANAGER_URL": live_manager.url,
            "DEPLOY_MANAGER_TOKEN": token,
            "DEPLOY_MANAGER_PACKAGE": client_wheel.as_uri(),
        },
    }


def serving(manager: Manager) -> list[str]:
    """Return the commits that staging and production serve, as their servers have it."""
    lines = """
for name in ("staging", "production"):
    print(Placement.objects.get(environment__name=name).active_release.commit)
"""
    return manager.python(lines).split()


def test_github_deploys_what_is_green(
    live_manager: Manager,
    shop_code: Repository,
    machine: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    commit = shop_code.commit("Sell gloves", {"gloves.txt": "gloves"})
    runner = GitHub(check_out(shop_code.path, commit, tmp_path / "checkout"), **machine)
    ended = runner.run(block(".github/workflows/deploy.yml"), commit)
    assert ended == dict.fromkeys(["test", "report", "staging", "production"], "success"), (
        runner.log
    )
    assert serving(live_manager) == [commit, commit]
    assert machine["variables"]["DEPLOY_MANAGER_TOKEN"] not in runner.log


def test_gitlab_deploys_what_is_green_and_nothing_else(
    live_manager: Manager,
    shop_code: Repository,
    machine: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    green = shop_code.commit("Sell scarves", {"scarves.txt": "scarves"})
    runner: Runner = GitLab(check_out(shop_code.path, green, tmp_path / "checkout"), **machine)
    ended = runner.run(block(".gitlab-ci.yml"), green)
    assert {name for name, how in ended.items() if how == "skipped"} == {"tests failed"}, runner.log
    assert "failure" not in ended.values(), runner.log
    assert serving(live_manager) == [green, green]
    red = shop_code.commit("Break it", {"test_shop.py": "raise SystemExit(1)\n"})
    for kind, file in ((GitLab, ".gitlab-ci.yml"), (GitHub, ".github/workflows/deploy.yml")):
        runner = kind(check_out(shop_code.path, red, tmp_path / "checkout"), **machine)
        ended = runner.run(block(file), red)
        assert ended["test"] == "failure"
        assert {ended["staging"], ended["production"]} == {"skipped"}
    assert serving(live_manager) == [green, green]
    told = live_manager.python(f"print(CommitStatus.objects.get(commit={red!r}).state)")
    assert told == "failure"


def test_a_job_fails_where_its_command_is_refused(
    live_manager: Manager,
    shop_code: Repository,
    machine: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    head = shop_code.commit("Mend it", {"test_shop.py": "import unittest\n"})
    machine["variables"]["DEPLOY_MANAGER_TOKEN"] = "dm_revoked"
    runner = GitLab(check_out(shop_code.path, head, tmp_path / "checkout"), **machine)
    lines = block(".gitlab-ci.yml").replace("python -m unittest", "true")
    ended = runner.run(lines, head)
    assert ended["tests succeeded"] == "failure"
    assert "does not accept this token" in runner.log
    assert ended["staging"] == "skipped"
