"""What the state machine of the tests deploys: four servers, and a pipeline that touches none."""

import pytest

from deploy_manager.models import Environment, Placement, Project, Server
from deploy_manager.recipes import Phase, Pipeline, Scope, Uses, add_pipeline, recipe, registry

SERVERS = 4


def make_environment() -> Environment:
    project = Project.objects.create(name="shop", repository="/nowhere")
    environment = Environment.objects.create(
        project=project,
        name="production",
        deploy_path="/srv/shop",
        strategy=Environment.Strategy.WAVES,
        canary="1",
        batch="2",
        pause=60,
        max_failures="1",
        rollback_on_failure=True,
    )
    for number in range(SERVERS):
        server = Server.objects.create(name=f"web{number}", connection="local")
        Placement.objects.create(
            environment=environment, server=server, order=number, own_deploy_path=f"/srv/{number}"
        )
    return environment


@pytest.fixture
def machine_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_recipes", dict(registry._recipes))
    monkeypatch.setattr(registry, "_pipelines", dict(registry._pipelines))
    recipe("Prepare", name="machine_prepare", uses=Uses.GIVEN)(lambda host, site: None)
    recipe("Once", name="machine_once", scope=Scope.ONCE)(lambda host, site: None)
    recipe("Tidy", name="machine_tidy")(lambda host, site: None)
    phases = (
        Phase("prepare", "Prepare", ("machine_prepare",), gate=True),
        Phase("once", "Once", ("machine_once",), gate=True),
        Phase("activate", "Activate", ("activate",), in_waves=True),
        Phase("clean_up", "Clean up", ("machine_tidy",)),
    )
    add_pipeline(Pipeline("machine", "Machine", phases))
