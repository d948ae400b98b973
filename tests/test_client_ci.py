"""The examples of docs/deploy-from-ci.md run as they are, by shells that play the runners."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts.manager import TESTS, Manager
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


Hire = Callable[[type[Runner], str], Runner]


@pytest.fixture
def variables(live_manager: Manager, client_wheel: Path, token: str) -> dict[str, str]:
    """What was entered at the forge."""
    return {
        "DEPLOY_MANAGER_URL": live_manager.url,
        "DEPLOY_MANAGER_TOKEN": token,
        "DEPLOY_MANAGER_PACKAGE": client_wheel.as_uri(),
    }


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of the runners: one for all, as each installs the same."""
    folder = tmp_path_factory.mktemp("runner") / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin"


@pytest.fixture
def hire(
    live_manager: Manager,
    shop_code: Repository,
    python: Path,
    variables: dict[str, str],
    tmp_path: Path,
) -> Hire:
    """Return a runner that has the code of a commit, and a Python of its own."""
    unwanted = ("DJANGO_", "DEPLOY_MANAGER_", "PYTHON", "REQUESTS_", "CURL_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(unwanted)}
    # It trusts the manager's authority; pip, which asks elsewhere, whom it trusted before.
    kept.setdefault("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    environ = {
        **kept,
        "PATH": f"{python}{os.pathsep}{kept['PATH']}",
        "SSL_CERT_FILE": str(live_manager.authority.bundle),
    }

    def hire(kind: type[Runner], commit: str) -> Runner:
        return kind(check_out(shop_code.path, commit, tmp_path / "checkout"), environ, variables)

    return hire


def serving(manager: Manager) -> list[str]:
    """Return the commits that staging and production serve, as their servers have it."""
    lines = """
for name in ("staging", "production"):
    print(Placement.objects.get(environment__name=name).active_release.commit)
"""
    return manager.python(lines).split()


GITHUB, GITLAB = ".github/workflows/deploy.yml", ".gitlab-ci.yml"


def test_github_deploys_what_is_green(
    live_manager: Manager, shop_code: Repository, hire: Hire, variables: dict[str, str]
) -> None:
    commit = shop_code.commit("Sell gloves", {"gloves.txt": "gloves", "test_shop.py": TESTS})
    runner = hire(GitHub, commit)
    ended = runner.run(block(GITHUB), commit)
    assert ended == dict.fromkeys(["test", "report", "staging", "production"], "success"), (
        runner.log
    )
    assert serving(live_manager) == [commit, commit]
    assert variables["DEPLOY_MANAGER_TOKEN"] not in runner.log


def test_gitlab_deploys_what_is_green(
    live_manager: Manager, shop_code: Repository, hire: Hire
) -> None:
    commit = shop_code.commit("Sell scarves", {"scarves.txt": "scarves", "test_shop.py": TESTS})
    runner = hire(GitLab, commit)
    ended = runner.run(block(GITLAB), commit)
    assert {name for name, how in ended.items() if how != "success"} == {"tests failed"}, runner.log
    assert serving(live_manager) == [commit, commit]


def test_what_is_red_is_reported_and_deployed_by_nobody(
    live_manager: Manager, shop_code: Repository, hire: Hire
) -> None:
    for kind, file in ((GitHub, GITHUB), (GitLab, GITLAB)):
        red = shop_code.commit(f"Break {file}", {"test_shop.py": f"raise SystemExit({file!r})\n"})
        ended = hire(kind, red).run(block(file), red)
        assert (ended["test"], ended["staging"], ended["production"]) == (
            "failure",
            "skipped",
            "skipped",
        )
        told = live_manager.python(f"print(CommitStatus.objects.get(commit={red!r}).state)")
        assert told == "failure"


def test_a_job_fails_where_its_command_is_refused(
    shop_code: Repository, hire: Hire, variables: dict[str, str]
) -> None:
    variables["DEPLOY_MANAGER_TOKEN"] = "dm_revoked"
    green = shop_code.commit("Mend it", {"test_shop.py": TESTS})
    runner = hire(GitLab, green)
    ended = runner.run(block(GITLAB), green)
    assert (ended["tests succeeded"], ended["staging"]) == ("failure", "skipped")
    assert "does not accept this token" in runner.log
