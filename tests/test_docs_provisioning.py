"""The page on a server that is added: what it has typed works where provisioning is off."""

import json
import sys

from tests.parts.new_project import TOP, NewProject

MAKE_SITE = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository="/nowhere/shop.git")
environment = project.environments.create(
    name="production", deploy_path="/srv/shop", supervisor="systemd"
)
server = Server.objects.create(name="web5", address="192.0.2.7", user="deploy")
Placement.objects.create(environment=environment, server=server)
"""


def test_what_has_to_be_there_is_listed_as_the_page_says(new_project: NewProject) -> None:
    new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_SITE)
    shown, for_programs, sudoers = new_project.follow(TOP / "docs/a-server-is-added.md")
    assert "account  deploy: with a home" in shown
    server, summary = map(json.loads, for_programs.splitlines())
    assert server["folder"] == "/srv/shop"
    assert summary["state"] == "succeeded"
    assert server["sudoers"] in sudoers
