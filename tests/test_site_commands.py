"""One-off commands: manage.py of a site with typed words, on one server, with its output kept."""

from pathlib import Path

import pytest

from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, LockFile, LogChunk, Placement, Release, State
from tests.commands import call, call_and_be_refused, call_and_fail, events
from tests.inventory import Inventory
from tests.parts.own_project import OwnProject

pytestmark = pytest.mark.django_db(transaction=True)

MANAGE = """
import os, sys
print(os.environ["MOTTO"], *map(repr, sys.argv[1:]))
sys.exit(3 if sys.argv[1] == "fail" else sys.stdin.read() != "")
"""
EVIL = "$(touch ran); 'touch' \"ran\" `touch ran` *\n-x"


def serve(placement: Placement, folder: Path) -> None:
    """Let a server serve a release whose manage.py tells what it was given."""
    lock = LockFile.objects.of("d" * 64, "")
    release, _made = Release.objects.get_or_create(
        environment=placement.environment, name="r1", defaults={"commit": "c" * 40, "lock": lock}
    )
    code = folder / "releases/r1"
    (code / "venv/bin").mkdir(parents=True)
    (code / "venv/bin/python").symlink_to("/usr/bin/python3")
    (code / "manage.py").write_text(MANAGE)
    (folder / "current").symlink_to("releases/r1")
    (folder / ".deploy/environment").mkdir(parents=True)
    (folder / ".deploy/environment/r1").write_text("export MOTTO='hello from the site'\n")
    Placement.objects.filter(pk=placement.pk).update(active_release=release)


@pytest.fixture
def shop(inventory: Inventory) -> Inventory:
    """A release serves on the servers `one` and `two`."""
    inventory.add_server("two")
    for placement in inventory.environment.placements.all():
        serve(placement, inventory.folder / placement.server.name)
    return inventory


def ask(shop: Inventory, *words: str, recipe: str = "manage_site", **options: object) -> Deployment:
    return request(
        shop.environment,
        recipe,
        source="manage.py",
        requested_by_name="me@here",
        options=DeploymentOptions(arguments=words, **options),  # type: ignore[arg-type]
    )


def carry_out(deployment: Deployment) -> tuple[str, str]:
    """Return the state that it ended in, and all that its only server printed."""
    run(deployment.pk)
    deployment.refresh_from_db()
    chunks = LogChunk.objects.filter(step__host_run__deployment=deployment)
    return deployment.state, b"".join(chunks.values_list("data", flat=True)).decode()


def test_the_words_arrive_as_they_were_typed_on_one_server(shop: Inventory) -> None:
    deployment = ask(shop, "tell", EVIL, "", "é")
    state, printed = carry_out(deployment)
    assert state == State.SUCCEEDED, printed
    assert f"hello from the site 'tell' {EVIL!r} '' 'é'\n" in printed
    assert [each.server_name for each in deployment.host_runs.all()] == ["one"]
    assert not list(shop.folder.rglob("ran"))


def test_a_command_that_fails_can_be_retried_where_it_ran(shop: Inventory) -> None:
    deployment = ask(shop, "fail", "--now", servers=["two"])
    state, printed = carry_out(deployment)
    assert state == State.FAILED
    assert "'fail' '--now'" in printed
    recipe, options = retry(deployment)
    assert (recipe, options.servers) == ("manage_site", ["two"])
    assert options.arguments == ("fail", "--now")


@pytest.mark.parametrize("words", [["--pythonpath=/tmp", "tell"], "tell", [1], ["tell\0"]])
def test_a_row_that_no_form_wrote_is_refused(shop: Inventory, words: object) -> None:
    deployment = ask(shop, "tell")
    Deployment.objects.update(arguments=words)
    state, printed = carry_out(deployment)
    assert (state, printed) == (State.FAILED, "")
    assert "command (arguments)" in deployment.message
    assert deployment.message.endswith("No server was touched.")


def test_one_that_can_not_run_is_refused_with_the_reason(
    shop: Inventory, own_recipes: None
) -> None:
    with pytest.raises(RequestRefused, match=r"manage_site needs a command: manage\.py"):
        ask(shop)
    with pytest.raises(RequestRefused, match="Begin with the name of a command of the site"):
        ask(shop, "--settings=x")
    with pytest.raises(RequestRefused, match="greet takes no arguments"):
        ask(shop, "tell", recipe="greet")
    with pytest.raises(RequestRefused, match="one server: name one"):
        ask(shop, "tell", servers=["one", "two"])
    Placement.objects.filter(server__name="one").update(active_release=None)
    with pytest.raises(RequestRefused, match=r"No release serves on one yet.*deploy first"):
        ask(shop, "tell")
    assert not Deployment.objects.exists()


@pytest.mark.usefixtures("worker")
def test_what_it_prints_is_shown(shop: Inventory) -> None:
    printed = call("manage_site", "production", "--", "tell", "--verbosity", "2", "a b")
    assert "  command  manage.py tell --verbosity 2 'a b'\n  release  r1\n" in printed
    assert "[one] hello from the site 'tell' '--verbosity' '2' 'a b'" in printed
    printed = call("manage_site", "production", "--server", "two", "tell")
    assert "[two] hello from the site 'tell'" in printed
    code, printed = call_and_fail("manage_site", "production", "--", "fail")
    assert code == 1
    assert "manage.py retry" in printed


@pytest.mark.usefixtures("worker")
def test_a_dry_run_and_programs_see_the_words(shop: Inventory) -> None:
    words = ("manage_site", "production", "--dry-run", "--json", "--", "tell", "a b")
    told = events(call(*words))
    assert told[0]["arguments"] == ["tell", "a b"]
    assert told[1]["lines"][0].endswith("manage.py tell 'a b'")
    assert not Deployment.objects.exists()


@pytest.mark.usefixtures("worker")
def test_words_are_needed(shop: Inventory) -> None:
    assert "needs a command" in call_and_be_refused("recipe", "production", "manage_site")
    refused = call_and_be_refused("manage_site", "production", "--", "--settings=x")
    assert "Begin with the name of a command" in refused


def test_fab_takes_it_in_one_piece(own_project: OwnProject) -> None:
    code, printed = own_project.run("fab", "production", "manage_site", "--command", "tell 'a")
    assert code == 2
    assert "check the quotes" in printed
    code, printed = own_project.run("fab", "production", "manage_site", "--command", "tell 'a b'")
    assert code == 2
    assert "No release serves on one yet" in printed
