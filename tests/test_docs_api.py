"""The examples on the page of the API run as they are written."""

import ast
import json
import re
import subprocess
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from deploy_manager.models import CommitStatus, Deployment, Token
from deploy_manager.models.tokens import Scope
from tests.commands import Worker
from tests.inventory import Inventory
from tests.parts.admin import make_user
from tests.parts.new_project import TOP

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = (TOP / "docs/api.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if not line.startswith("$ export ")]


def test_every_example_works(inventory: Inventory, worker: Worker, live_server: LiveServer) -> None:
    worker.is_deaf = True
    boss = make_user("boss", superuser=True)
    _token, secret = Token.objects.issue(boss, name="ci", scopes=list(Scope.values))
    told = {line: run(line, f"{live_server.url}/deploy/api/v1", secret) for line in commands()}
    assert len(told) == 10
    assert Deployment.objects.get().reason == "A look"
    assert Deployment.objects.get().state == "cancelled"
    assert CommitStatus.objects.get().state == "success"
    assert any('"token": "ci"' in each for each in told.values())


def run(line: str, address: str, secret: str) -> str:
    number = Deployment.objects.values_list("pk", flat=True).first() or 1
    line = line.replace("/deployments/1/", f"/deployments/{number}/")
    done = subprocess.run(
        ["bash", "-c", with_json(line)],
        env={"URL": address, "TOKEN": secret, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


def with_json(line: str) -> str:
    """Return what --json means to a curl older than 7.82, as Debian 11 has it."""
    known = subprocess.run(["curl", "--help", "all"], capture_output=True, text=True, check=True)
    if " --json " in known.stdout:
        return line
    return line.replace("--json ", "-H 'Content-Type: application/json' --data ")


def test_every_code_of_an_error_is_on_the_page() -> None:
    tree = ast.parse((TOP / "deploy_manager/api/problems.py").read_text())
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and len(each.args) > 2]
    given = [each.args[2] for each in calls if getattr(each.func, "id", "") == "problem"]
    codes = {str(each.value) for each in given if isinstance(each, ast.Constant)}
    assert {"forbidden", "too_large"} <= codes
    assert not [code for code in codes - {"unexpected_error"} if f"`{code}`" not in PAGE]


def test_every_scope_is_on_the_page() -> None:
    assert not [scope for scope in Scope.values if f"| `{scope}` |" not in PAGE]


def test_the_example_of_an_error_is_json() -> None:
    found: Any = [json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert found[0]["code"] == "request_refused"
