"""The page on what comes back after a reboot can be followed, on a site whose processes run."""

import sys
from pathlib import Path

import pytest

from deploy_manager.hosts.address import Address
from deploy_manager.watching.asking import Place, start_on
from tests.parts.new_project import TOP, NewProject
from tests.watching import end_what_was_started, leave_a_deployment

MAKE_SITE = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository="/nowhere/shop.git")
environment = project.environments.create(name="production", deploy_path={folder!r})
server = Server.objects.create(name="one", connection="local")
lock = LockFile.objects.of("a" * 64, "a==1\\n")
release = Release.objects.create(environment=environment, name="r1", commit="c" * 40, lock=lock)
Placement.objects.create(environment=environment, server=server, active_release=release)
"""


@pytest.mark.long
def test_the_page_can_be_followed(new_project: NewProject, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    leave_a_deployment(folder, "r1", mailer="sleep 600")
    start_on(Place(Address("here", local=True), str(folder), "python3"))
    rows = MAKE_SITE.format(folder=str(folder))
    new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", rows)
    shown, for_programs = new_project.follow(TOP / "docs/after-a-reboot.md")
    assert "mailer 1" in shown
    assert '"state": "up"' in for_programs
    end_what_was_started(folder)
