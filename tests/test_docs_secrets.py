"""The commands of the page on secrets do what it says."""

import io
import re
from pathlib import Path

import pytest
from django.core.management import call_command

from deploy_manager.models import Environment
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import open_secrets
from tests.inventory import Inventory
from tests.parts.new_project import FENCE

pytestmark = [pytest.mark.database, pytest.mark.django_db]

PAGE = Path(__file__).parent.parent / "docs/secrets.md"


def test_the_commands_of_the_page_work(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = inventory.environment
    environment.variables = {"DEBUG": "0", "API_TOKEN": "token-of-it"}
    environment.save()
    (tmp_path / "key.pem").write_text("-----BEGIN KEY-----\nabcdefgh\n")
    monkeypatch.chdir(tmp_path)
    lines = [
        line
        for block in FENCE.finditer(PAGE.read_text())
        for line in block["text"].splitlines()
        if line.startswith("python manage.py secret ")
    ]
    assert len(lines) == 4
    printed = ""
    for line in lines:
        monkeypatch.setattr("sys.stdin", io.StringIO("of the sessions\n"))
        out = io.StringIO()
        call_command(*line.split()[2:], stdout=out)
        printed += out.getvalue()
    environment = Environment.objects.get()
    assert environment.variables == {"DEBUG": "0"}
    assert open_secrets(environment).variables == {
        "API_TOKEN": Secret("token-of-it"),
        "PRIVATE_KEY": Secret("-----BEGIN KEY-----\nabcdefgh"),
        "SECRET_KEY": Secret("of the sessions"),
    }
    assert re.search("PRIVATE_KEY: [0-9a-f]{8}", printed)
    assert "token-of-it" not in printed
