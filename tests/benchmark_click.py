"""`script/test -s tests/benchmark_click.py`: from the click on Deploy to the first line of its log.

A worker of its own takes each deployment, woken through the embedded broker and through Redis. The
page is asked as its script asks it; nothing is drawn. Prints medians, and asserts nothing of time.
"""

import time
from pathlib import Path
from statistics import median

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from deploy_manager.deployments.ending import cancel
from deploy_manager.models import Deployment, Environment
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.parts.admin_run import confirmed, make_served_shop, run_page
from tests.parts.processes import free_port
from tests.parts.worker import StartWorker, UseBroker

pytestmark = pytest.mark.django_db(transaction=True)

CLICKS = 7
PAGE_LOOKS_EVERY = 0.1
"""Seconds, as deployment.js has it for a deployment that has just begun."""

LONGEST = 60.0


@pytest.fixture(params=["embedded", "redis"])
def broker(
    request: pytest.FixtureRequest, embedded_broker: None, use_broker: UseBroker, redis_url: str
) -> str:
    if request.param == "redis":
        use_broker(redis_url)
    return str(request.param)


def test_a_click(broker: str, start_worker: StartWorker, tmp_path: Path) -> None:
    made = make_served_shop(tmp_path)
    # An index that refuses at once: how long others take to answer is not ours to measure.
    Environment.objects.update(index_url=f"http://127.0.0.1:{free_port()}/simple/")
    client = visitor("owner")
    start_worker()
    took = [click(client, made) for _ in range(CLICKS + 1)][1:]  # the first one imports
    answered, worked, queries, shown = (median(values) for values in zip(*took, strict=True))
    print(
        f"\n{broker}: the click returns after {answered * 1000:.0f} ms ({worked * 1000:.0f} of"
        f" processor, {queries:.0f} queries), the first line is there after {shown:.2f} s"
    )


def click(client: Client, made: Inventory) -> tuple[float, float, float, float]:
    """Return the seconds of the answer, of processor, the queries, and seconds to the line."""
    page = client.get(run_page(made)).content.decode()
    pinned = page.split('-commit" value="', 1)[1].split('"', 1)[0]
    sent = confirmed(made, pinned)
    began, began_work = time.perf_counter(), time.process_time()
    with CaptureQueriesContext(connection) as queries:
        answer = client.post(run_page(made), sent)
    answered, worked = time.perf_counter() - began, time.process_time() - began_work
    assert answer.status_code == 302, answer.content.decode()
    asked = len(queries)  # now: the next request forgets them
    deployment = Deployment.objects.latest("pk")
    client.get(answer["Location"])
    shown = wait_for_line(client, deployment) - began
    cancel(deployment, "benchmark")
    wait_for_end(deployment)
    return answered, worked, asked, shown


def wait_for_line(client: Client, deployment: Deployment) -> float:
    until = time.perf_counter() + LONGEST
    address = url("deployment_progress", deployment.pk)
    while time.perf_counter() < until:
        if client.get(address).json()["chunks"]:
            return time.perf_counter()
        time.sleep(PAGE_LOOKS_EVERY)
    raise AssertionError("no line came")


def wait_for_end(deployment: Deployment) -> None:
    until = time.perf_counter() + LONGEST
    while time.perf_counter() < until:
        deployment.refresh_from_db()
        if not deployment.is_live:
            return
        time.sleep(0.1)
    raise AssertionError("it never ended")
