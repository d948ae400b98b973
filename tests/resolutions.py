"""What pages ask the resolver, answered by a worker in the test's own process."""

from typing import Any

from django.test import Client

from deploy_manager.models import Resolution
from deploy_manager.packages.resolutions import take_up


def answer_all() -> None:
    """Do what a worker does that is told of everything that waits."""
    for pk in Resolution.objects.to_claim().values_list("pk", flat=True):
        assert take_up(pk)


def post_and_wait(client: Client, address: str, sent: dict[str, Any]) -> Any:
    """Send a form and return the answer of the page that comes when a worker is done."""
    asked = client.post(address, sent)
    if asked.status_code != 302 or "?asked=" not in asked.headers["Location"]:
        return asked
    waiting = client.get(asked.headers["Location"])
    assert 'data-refresh="yes"' in waiting.content.decode()
    answer_all()
    return client.get(asked.headers["Location"])
