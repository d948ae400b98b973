"""The sample site in a git repository of its own, and the end of the gunicorns that serve it."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from deploy_manager.models import Environment
from tests.inventory import Inventory, make_inventory
from tests.parts.repository import Repository
from tests.parts.served import processes_of

SAMPLE_SITE = Path(__file__).parent.parent.parent / "example_project/sample_site"


@pytest.fixture
def guestbook(tmp_path: Path) -> Repository:
    """The sample site in a git repository of its own."""
    made = Repository(tmp_path / "guestbook")
    leave_out = shutil.ignore_patterns("__pycache__", "collected", "*.sqlite3*")
    shutil.copytree(SAMPLE_SITE, made.path, ignore=leave_out)
    made.git("init", "--quiet", "--initial-branch=main")
    made.commit("Open the guestbook", {})
    return made


def make_site(folder: Path, guestbook: Repository, database: Path) -> Inventory:
    """Write `shop/production` for the guestbook on gunicorn, with no servers yet."""
    made = make_inventory(folder, str(guestbook.path))
    Environment.objects.update(
        reload_method=Environment.ReloadMethod.GUNICORN,
        supervisor=Environment.Supervisor.STARTER,
        at_boot=False,
        installer=Environment.Installer.UV,  # The demo takes pip, which needs 10 seconds more.
        health_path="/health/",
        health_text='"status": "ok"',
        variables={
            "ALLOWED_HOSTS": "*",
            "DATABASE_PATH": str(database),
            "SECRET_KEY": "only for tests",
        },
    )
    made.environment.refresh_from_db()
    return made


def end_gunicorns(environment: Environment) -> None:
    """End the gunicorns that serve an environment's sites on this machine."""
    for placement in environment.placements.all():
        end_gunicorn(placement.deploy_path)


def end_gunicorn(deploy_path: str) -> None:
    """End every gunicorn of a site: its pid file names only one of two that relieve each other.

    By SIGKILL: asked to end, a worker waits up to 30 seconds for connections that are kept alive.
    """
    deadline = time.monotonic() + 10
    while pids := processes_of(Path(deploy_path)):  # a master replaces workers until it is gone
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() < deadline, f"gunicorns do not end: {pids}"
        time.sleep(0.01)
