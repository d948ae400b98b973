"""`manage.py reconcile`: a line says what it did; `--forever` goes on until a signal."""

import signal
from datetime import timedelta

import pytest
from django.core.management import CommandError

from deploy_manager.deployments.times import parse_duration
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
    assert events(call("reconcile", "--json")) == [
        {"event": "reconciled", "done": {}},
        {"event": "summary", "state": "done"},
    ]
    assert call("reconcile") == "There was nothing to do.\n"


@pytest.mark.parametrize("pause", ["-1s", "soon", "nan", "1e9s", "99999d", "5 s"])
def test_a_pause_is_a_duration_with_its_unit(pause: str) -> None:
    with pytest.raises(CommandError, match="is not a duration: write one like 30s, 10m"):
        call("reconcile", f"--forever={pause}")


@pytest.mark.parametrize("pause", ["0", "0s", "1d"])
def test_a_pause_is_above_0_and_below_a_day(pause: str) -> None:
    with pytest.raises(CommandError, match="takes a pause above 0 and below a day"):
        call("reconcile", f"--forever={pause}")


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", timedelta()),
        ("0.5s", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
    ],
)
def test_durations_are_written_in_one_way(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("ending", few(signal.SIGTERM, signal.SIGINT))
def test_it_reconciles_until_it_is_reported_to_end(own_project: OwnProject, ending: int) -> None:
    process = own_project.start("python", "manage.py", "reconcile", "--forever", "0.2s")
    own_project.run("python", "-c", REQUEST)
    assert process.stdout is not None
    assert any(line.startswith("woke workers again: 1") for line in process.stdout)
    process.send_signal(ending)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")


def test_tables_that_are_not_there_yet_are_reported(bare_project: OwnProject) -> None:
    code, printed = bare_project.run("python", "manage.py", "reconcile")
    assert code == 1
    assert "The deployments can't be read" in printed
    assert "Traceback" not in printed
