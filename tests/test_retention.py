"""What is past its time is removed, and nothing that serves, is needed or is audited."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from deploy_manager.conf import get_settings
from deploy_manager.deployments.retention import holdings, remove_past
from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import (
    AuditEvent,
    Deployment,
    IncomingWebhook,
    LockFile,
    LogChunk,
    Placement,
    Release,
    State,
    Step,
)
from tests.inventory import Inventory
from tests.parts.admin import url, visitor, write_deployment, write_output

pytestmark = pytest.mark.django_db

OLD = timezone.now() - timedelta(days=100)


@pytest.fixture(autouse=True)
def kept_for_90_days(settings: Settings, tmp_path: Path) -> None:
    days = {"logs": 90, "deployments": 90, "audit": 90, "deliveries": 90, "wheels": 90}
    settings.DEPLOY_MANAGER = {"RETENTION": days, "CACHE": tmp_path}


def written(inventory: Inventory, number: int, **changes: object) -> Deployment:
    made = write_deployment(inventory.environment)
    facts = {"state": State.SUCCEEDED, "finished_at": OLD, "begin_number": number, **changes}
    Deployment.objects.filter(pk=made.pk).update(**facts)
    return made


def test_old_deployments_go_and_those_of_late_stay(inventory: Inventory) -> None:
    inventory.add_server("web1")
    old = written(inventory, 1)
    young = written(inventory, 2, finished_at=timezone.now())
    assert remove_past()["deployments"] == 1
    assert list(Deployment.objects.all()) == [young]
    assert not LogChunk.objects.filter(deployment_id=old.pk).exists()


def test_the_highest_number_stays_since_servers_refuse_a_lower_one(inventory: Inventory) -> None:
    inventory.add_server("web1")
    written(inventory, 1)
    newest = written(inventory, 2)
    remove_past()
    assert list(Deployment.objects.all()) == [newest]


def serving(placement: Placement, lock: str = "") -> Release:
    release = Release.objects.create(
        environment=placement.environment,
        name="r1",
        commit="c" * 40,
        lock=LockFile.objects.of("d" * 64, lock),
    )
    placement.active_release = release
    placement.save()
    return release


@pytest.mark.parametrize("why", ["its release serves", "an event names it", "it is not over"])
def test_what_is_needed_stays(inventory: Inventory, why: str) -> None:
    placement = inventory.add_server("web1")
    needed = written(inventory, 1)
    written(inventory, 2, finished_at=timezone.now())
    if why == "its release serves":
        release = serving(placement)
        Deployment.objects.filter(pk=needed.pk).update(release=release)
    elif why == "an event names it":
        AuditEvent.objects.create(who="ana", source="admin", deployment_number=needed.pk)
    else:
        Deployment.objects.filter(pk=needed.pk).update(state=State.RUNNING, finished_at=None)
    remove_past()
    assert Deployment.objects.filter(pk=needed.pk).exists()


def test_once_its_event_is_past_a_deployment_goes(inventory: Inventory) -> None:
    inventory.add_server("web1")
    old = written(inventory, 1)
    written(inventory, 2)
    AuditEvent.objects.create(who="ana", source="admin", deployment_number=old.pk, at=OLD)
    gone = {"logs": 0, "audit": 1, "deployments": 1, "deliveries": 0, "wheels": 0}
    assert remove_past() == gone


def test_old_deliveries_of_webhooks_go(inventory: Inventory) -> None:
    project = inventory.environment.project
    hook = IncomingWebhook.objects.create(project=project, name="forge", kind="github")
    hook.deliveries.create(delivery="1", event="push", received_at=OLD)
    hook.deliveries.create(delivery="2", event="push")
    assert remove_past()["deliveries"] == 1
    assert [each.delivery for each in hook.deliveries.all()] == ["2"]


def test_a_log_goes_and_its_deployment_stays(inventory: Inventory, settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {"RETENTION": {"logs": 90}}
    inventory.add_server("web1")
    old = written(inventory, 1)
    write_output(Step.objects.filter(host_run__deployment=old)[0], b"hello\n")
    (logs, *_others) = holdings()
    assert (logs.past, logs.size) == (1, 6)
    assert remove_past() == {"logs": 1}
    assert Deployment.objects.filter(pk=old.pk).exists()


def test_wheels_of_what_serves_stay(inventory: Inventory, tmp_path: Path) -> None:
    placement = inventory.add_server("web1")
    files = {name: keep(tmp_path, name) for name in ("a-1.0-py3-none-any.whl", "b-1.0.tar.gz")}
    keep(tmp_path, "a-2.0-py3-none-any.whl", days=1)
    serving(placement, "a==1.0\n")
    assert remove_past()["wheels"] == 1
    assert files["a-1.0-py3-none-any.whl"].exists()
    assert not files["b-1.0.tar.gz"].exists()


def keep(cache: Path, name: str, days: int = 100) -> Path:
    path = cache / "wheels" / "files" / name[:12] / name
    path.parent.mkdir(parents=True)
    path.touch()
    then = (timezone.now() - timedelta(days=days)).timestamp()
    os.utime(path, (then, then))
    return path


def test_without_the_setting_nothing_is_removed(inventory: Inventory, settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {}
    inventory.add_server("web1")
    written(inventory, 1)
    written(inventory, 2)
    assert remove_past() == {}
    assert Deployment.objects.count() == 2


def test_the_command_shows_sizes_and_removes_if_told(
    inventory: Inventory, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory.add_server("web1")
    written(inventory, 1)
    written(inventory, 2)
    call_command("retention")
    assert "90 days" in capsys.readouterr().out
    assert Deployment.objects.count() == 2
    call_command("retention", "--remove")
    assert Deployment.objects.count() == 1


@pytest.mark.parametrize("wrong", [{"logs": 0}, {"log": 3}, {"logs": "9"}, ["logs"]])
def test_a_setting_that_can_not_be_right_is_refused(settings: Settings, wrong: object) -> None:
    settings.DEPLOY_MANAGER = {"RETENTION": wrong}
    with pytest.raises(ConfigurationError, match="RETENTION"):
        get_settings()


def test_the_page_of_a_deployment_says_that_its_log_was_removed(inventory: Inventory) -> None:
    placement = inventory.add_server("web1")
    serving(placement)
    old = written(inventory, 1)
    write_output(Step.objects.filter(host_run__deployment=old)[0], b"hello\n")
    written(inventory, 2)
    AuditEvent.objects.create(deployment_number=old.pk)
    page = url("deployment_change", old.pk)
    assert "The log was removed" not in visitor("owner").get(page).content.decode()
    remove_past()
    assert "logs are kept for 90 days" in visitor("owner").get(page).content.decode()


def test_the_page_of_what_is_kept_counts_it(inventory: Inventory) -> None:
    inventory.add_server("web1")
    written(inventory, 1)
    written(inventory, 2)
    page = url("auditevent_retention")
    shown = visitor("owner").get(page).content.decode()
    assert "90 days" in shown
    assert '<td data-head="Past its time">1</td>' in shown
    assert visitor("viewer").get(page).status_code == 403
