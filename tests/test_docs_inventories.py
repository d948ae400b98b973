"""The page on other tools can be followed, and Ansible takes what it says."""

import json
import sys
from pathlib import Path

import pytest

from tests.parts.new_project import FENCE, TOP, NewProject

PAGE = TOP / "docs/beside-ansible-puppet-chef.md"
MAKE_SITE = """
from deploy_manager.models import *
project = Project.objects.create(name="shop", repository="/srv/shop.git")
project.environments.create(name="production", deploy_path="/srv/shop")
"""


@pytest.mark.long
def test_the_page_can_be_followed(new_project: NewProject, tmp_path: Path) -> None:
    new_project.run(sys.executable, "manage.py", "shell", "-v0", "-c", MAKE_SITE)
    seen, written, again, _none, table, config, graph = new_project.follow(PAGE)
    assert "5 new" in seen
    assert "4 placed in shop/production" in written
    assert "5 unchanged" in again
    assert "Nothing was written." in again
    assert "db1.example.org,ssh,10.0.0.20,2222,deploy,gate" in table
    assert "ProxyJump gate" in config
    assert "@app_in_shop_production" in graph

    text = next(
        each["text"] for each in FENCE.finditer(PAGE.read_text()) if each["language"] == "bash"
    )
    script = tmp_path / "servers.sh"
    script.write_text(
        text.replace("/srv/manager", str(new_project.folder)).replace(
            ".venv/bin/python", sys.executable
        )
    )
    script.chmod(0o755)
    listed = json.loads(new_project.run("ansible-inventory", "-i", str(script), "--list"))
    assert set(listed["shop_production"]["hosts"]) == {
        *(f"web0{number}.example.org" for number in (1, 2, 3)),
        "db1.example.org",
    }
    assert listed["database"]["hosts"] == ["db1.example.org"]
    db = listed["_meta"]["hostvars"]["db1.example.org"]
    assert (db["ansible_host"], db["deploy_path"]) == ("10.0.0.20", "/srv/shop")
    assert "deploy@192.0.2.1:22" in db["ansible_ssh_common_args"]
