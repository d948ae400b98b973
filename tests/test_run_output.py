"""What servers print in a deployment: whole lines, whatever the amount."""

import pytest

from deploy_manager.deployments.run import run
from deploy_manager.models import State
from deploy_manager.recipes import Host, Site, recipe, registry
from tests.inventory import Inventory

pytestmark = [pytest.mark.database, pytest.mark.django_db(transaction=True)]


def test_each_chunk_of_fast_output_holds_whole_lines(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_recipes", dict(registry._recipes))

    @recipe("Flood")
    def flood(host: Host, site: Site) -> None:
        host.say("\n".join(["nine ä ninety"] * 40_000))

    deployment = inventory.request("flood")
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.SUCCEEDED
    chunks = [bytes(data) for data in deployment.log_chunks.values_list("data", flat=True)]
    assert b"".join(chunks).count("nine ä ninety\n".encode()) == 40_000
    assert [chunk[-20:] for chunk in chunks if not chunk.endswith(b"\n")] == []


def test_an_error_that_no_log_takes_ends_its_own_host_only(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_recipes", dict(registry._recipes))
    inventory.add_server("two")

    @recipe("Stumble")
    def stumble(host: Host, site: Site) -> None:
        if host.name == "one":
            raise ValueError("caf\udce9 is no folder")

    deployment = inventory.request("stumble")
    run(deployment.pk)
    states = dict(deployment.host_runs.values_list("server_name", "state"))
    assert states == {"one": State.FAILED, "two": State.SUCCEEDED}
