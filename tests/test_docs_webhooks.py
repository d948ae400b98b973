"""What the pages on webhooks tell to type and to write works."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from deploy_manager.deployments.announcing import PAUSES, deliver, note_end
from deploy_manager.models import Deployment, IncomingWebhook
from deploy_manager.notifications.webhooks import key_of
from deploy_manager.webhooks import limits, views
from tests.inventory import Inventory
from tests.owners import owner
from tests.parts.new_project import FENCE
from tests.parts.receivers import Inbox, receiving
from tests.test_webhooks_out import SECRET, ended, make

TOP = Path(__file__).parent.parent

pytestmark = pytest.mark.django_db(transaction=True)


def fence(page: str, file: str = "", language: str = "python") -> str:
    """Return the first block of a page with this name, or of this language without one."""
    found = FENCE.finditer((TOP / "docs" / page).read_text())
    return next(
        each["text"]
        for each in found
        if (each["file"] or "") == file and each["language"] == language
    )


def test_a_push_is_sent_as_the_page_says(
    live_server: LiveServer, inventory: Inventory, tmp_path: Path
) -> None:
    site = inventory.environment
    site.ref = "main"
    site.save()
    webhook = IncomingWebhook(project=site.project, name="hook", kind="github")
    webhook.give_to(owner())
    webhook.save()
    webhook.environments.add(site)
    script = tmp_path / "push.py"
    script.write_text(fence("push-to-deploy.md", "push.py"))
    address = f"{live_server.url}/deploy/webhooks/{webhook.key}/"
    words = [sys.executable, str(script), address, webhook.secrets()[0], "main", "c0ffee00" * 5]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    (made,) = Deployment.objects.all()
    assert f"#{made.pk} deploys c0ffee00" in json.loads(done.stdout)["outcome"]
    assert 'include("deploy_manager.urls")' in fence("push-to-deploy.md")


def test_a_receiver_verifies_as_the_page_says(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    known: dict[str, Any] = {}
    exec(fence("webhooks-out.md", "receiver.py"), known)  # noqa: S102  it is what is tested
    with receiving(Inbox) as inbox:
        make(inventory, inbox.port)
        deployment = ended(inventory)
        (delivery,) = note_end(deployment)
        assert deliver(delivery.pk)
    (told,) = inbox.told
    data = known["deployment_of"](SECRET, told["headers"], told["body"])
    assert data["number"] == deployment.pk
    listed = (TOP / "docs/webhooks-out.md").read_text()
    assert [name for name in data if f"`{name}`" not in listed and f".{name}`" not in listed] == []


def test_the_secret_that_the_page_makes_can_sign() -> None:
    words = shlex.split(fence("webhooks-out.md", language="sh"))
    assert words[0] == "python"
    made = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True)
    assert len(key_of(made.stdout.strip())) == 32


def test_the_numbers_of_the_pages_are_those_of_the_code() -> None:
    came, told = (
        (TOP / "docs" / name).read_text().replace("\n", " ")
        for name in ("push-to-deploy.md", "webhooks-out.md")
    )
    assert f"larger than {views.MOST_BYTES // 1024**2} MB" in came
    assert f"More than {limits.BAD_MOST_FOR_ONE} refusals in a minute" in came
    assert f"or {limits.BAD_MOST} to any" in came
    assert f"than {limits.GENUINE_MOST} genuine deliveries" in came
    seconds = [int(each.total_seconds()) for each in PAUSES]
    hours = [f"{each // 3600}" for each in seconds[4:]]
    assert seconds[:4] == [5, 60, 300, 1800]
    assert f"5 seconds, 1, 5 and 30 minutes, {', '.join(hours[:-1])} and {hours[-1]} hours" in told
