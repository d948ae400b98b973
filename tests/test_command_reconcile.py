"""`manage.py reconcile`: what it mends is told in a line; `--forever` goes on until a signal."""

import signal

import pytest
from django.core.management import CommandError

from tests.commands import call, events
from tests.inventory import Inventory
from tests.parts.matrices import few
from tests.parts.own_project import OwnProject

REQUEST = """
import django
django.setup()
from deploy_manager.models import Environment
from deploy_manager.deployments.request import request
environment = Environment.objects.get(name="production")
request(environment, "ping", source="fab", requested_by_name="me@here")
"""


@pytest.mark.django_db(transaction=True)
def test_a_message_that_was_lost_is_woken_again_and_told(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    monkeypatch.setattr("deploy_manager.dispatch.wake_for_shard", woken.append)
    deployment = inventory.request("ping")
    assert call("reconcile") == "woke workers again: 1, asked servers for their packages: 1\n"
    assert woken == [deployment.shards.get().pk]
    assert events(call("reconcile", "--json")) == [{"event": "reconciled", "done": {}}]
    assert call("reconcile") == "There was nothing to do.\n"


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "1e9"])
def test_a_pause_is_a_number_of_seconds(seconds: str) -> None:
    with pytest.raises(CommandError, match="is no number of seconds, like 5"):
        call("reconcile", f"--forever={seconds}")


@pytest.mark.parametrize("ending", few(signal.SIGTERM, signal.SIGINT))
def test_it_reconciles_until_it_is_told_to_end(own_project: OwnProject, ending: int) -> None:
    process = own_project.start("python", "manage.py", "reconcile", "--forever", "0.2")
    own_project.run("python", "-c", REQUEST)
    assert process.stdout is not None
    assert any(line.startswith("woke workers again: 1") for line in process.stdout)
    process.send_signal(ending)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")


def test_tables_that_are_not_there_yet_are_told(bare_project: OwnProject) -> None:
    code, printed = bare_project.run("python", "manage.py", "reconcile")
    assert code == 1
    assert "The deployments can't be read" in printed
    assert "Traceback" not in printed
