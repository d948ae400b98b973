"""A dry run: each command that would be run, no server touched and no row written."""

import pytest

from deploy_manager.deployments.dry_run import NEW_RELEASE, DryStep, dry_run
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Release
from deploy_manager.recipes import Host, Phase, Pipeline, Site, Uses, recipe
from tests.commands import call, call_and_be_refused, events
from tests.inventory import Inventory
from tests.parts.repository import Repository
from tests.releases import Switching, put_pipeline

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_recipes")]


@pytest.fixture
def shop(inventory: Inventory, repository: Repository) -> Inventory:
    """Two servers, and a repository with code and pins."""
    repository.commit("Open", {"manage.py": "print()", "requirements.txt": "asgiref==3.8.1\n"})
    inventory.environment.project.repository = str(repository.path)
    inventory.environment.project.save()
    inventory.add_server("two", roles=("worker",))
    return inventory


def steps(inventory: Inventory, name: str) -> list[DryStep]:
    return list(dry_run(inventory.environment, name, DeploymentOptions()))


def test_every_step_of_a_deployment_is_shown_stage_by_stage(
    shop: Inventory, repository: Repository
) -> None:
    shown = steps(shop, "deploy")
    assert [step.stage for step in shown] == sorted(step.stage for step in shown)
    assert {step.server for step in shown if step.recipe == "checkout_latest"} == {"one", "two"}
    assert [step.server for step in shown if step.recipe == "migrate"] == ["one"]
    release = f"{NEW_RELEASE}-{repository.head[:8]}"
    switch = next(step for step in shown if step.recipe == "activate")
    assert any(f"releases/{release}" in line and "mv -fT" in line for line in switch.lines)
    assert not [line for step in shown for line in step.lines if "It would stop here" in line]


def test_no_server_is_touched_and_no_row_written(shop: Inventory) -> None:
    call("deploy", "production", "--dry-run")
    assert not [path for server in ("one", "two") for path in (shop.folder / server).iterdir()]
    assert not Deployment.objects.exists()
    assert not Release.objects.exists()


def test_the_terminal_shows_each_command_after_its_server(shop: Inventory) -> None:
    printed = call("deploy", "production", "--dry-run", "--server", "two")
    assert "\nPrepare\n[two] Check out the latest code\n[two]   $ test -e" in printed
    assert "[one]" not in printed
    empty = "No server was asked: these are the commands for a server that is still empty."
    assert printed.endswith(f"{empty}\nNothing was run.\n")


def test_it_tells_of_what_a_request_would_have_to_wait_for(shop: Inventory) -> None:
    words = ("deploy", "production", "--dry-run")
    assert "Not now" not in call(*words)
    assert events(call(*words, "--json"))[0]["not_now"] == ""
    shop.environment.freeze("Exams", "boss")
    why = "shop/production is frozen by boss until it is thawed: Exams"
    assert f"Not now: {why}" in call(*words)
    assert events(call(*words, "--json"))[0]["not_now"] == why
    assert "Not now" not in call("recipe", "production", "greet", "--dry-run")
    shop.environment.thaw("boss")
    shop.request("greet")
    assert "Not now: shop/production is busy: greet" in call(*words)


def test_json_has_an_object_for_each_step(shop: Inventory) -> None:
    told = events(call("recipe", "production", "greet", "--dry-run", "--json"))
    kinds = ["plan", "dry_run", "dry_run", "note", "note", "summary"]
    assert [event["event"] for event in told] == kinds
    assert (told[-1]["deployment"], told[-1]["state"]) == (None, "planned")
    assert told[1]["server"] == "one"
    assert told[1]["lines"] == ["$ echo 'hello from one'"]


def test_a_rollback_is_shown_with_the_release_it_goes_to(switching: Switching) -> None:
    for name in ("r1", "r2"):
        switching.switch_to(name)
    phase = Phase("activate", "Activate", ("activate",), in_waves=True)
    check = Phase("prepare", "Prepare", ("make_it",), gate=True)
    put_pipeline(Pipeline("rollback", "Roll back", (check, phase)))
    printed = call("rollback", "production", "--dry-run")
    assert "releases/r1" in printed
    assert "still empty" not in printed
    assert "No server was asked: what depends on its answers may run other commands." in printed
    assert switching.current("one") == "r2"


def test_a_recipe_that_needs_an_answer_says_so_and_ends_no_other(inventory: Inventory) -> None:
    @recipe("Read a number")
    def read_number(host: Host, site: Site) -> None:
        host.run(["sleep", str(int(host.run(["cat", "number"]).stdout))])

    (shown,) = steps(inventory, "read_number")
    assert shown.lines[0] == "$ cat number"
    assert "depends on the server's answers" in shown.lines[1]


def test_what_would_be_refused_is_refused(shop: Inventory, repository: Repository) -> None:
    @recipe("Go back", uses=Uses.GIVEN)
    def go_back(host: Host, site: Site) -> None:
        """Needs a release."""

    with pytest.raises(RequestRefused, match="go_back needs a release: name one"):
        steps(shop, "go_back")
    repository.git("rm", "--quiet", "requirements.txt")
    repository.commit("Forget the pins", {})
    assert "has no requirements.txt" in call_and_be_refused("deploy", "production", "--dry-run")
