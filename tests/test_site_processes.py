"""Which processes run on which server: by rows, by roles, and by the release's Procfile."""

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from deploy_manager.deployments.orders import site_of
from deploy_manager.exceptions import InvalidRow
from deploy_manager.models import Environment, Process
from deploy_manager.models.processes import PLACEHOLDERS
from deploy_manager.recipes.processes import facts_of
from deploy_manager.recipes.remote.processes.place import Place
from deploy_manager.recipes.remote.processes.wanted import wanted_here
from tests.inventory import Inventory

pytestmark = pytest.mark.django_db
PAGE = Path(__file__).parent.parent / "docs/processes.md"


def names_on(inventory: Inventory, procfile: Path | None = None) -> list[str]:
    """Return what runs on each server, in their order: `web worker`."""
    found = []
    environment = Environment.objects.get(pk=inventory.environment.pk)
    for placement in environment.placements.all():
        place = Place(str(procfile or "/nowhere"))
        facts = facts_of(site_of(placement), "apply")
        found.append(" ".join(process.name for process in wanted_here(facts, place)))
    return found


@pytest.fixture
def four_servers(inventory: Inventory) -> Inventory:
    inventory.environment.reload_method = Environment.ReloadMethod.GUNICORN
    inventory.environment.save()
    inventory.environment.placements.all().delete()
    for name, role in {"a1": "app", "a2": "app", "w1": "worker", "w2": "worker"}.items():
        inventory.add_server(name, (role,))
    return inventory


def add(inventory: Inventory, name: str, kind: str, **values: Any) -> None:
    inventory.environment.processes.create(name=name, kind=kind, **values)


def test_a_site_without_rows_is_one_gunicorn_where_the_web_is_served(
    four_servers: Inventory,
) -> None:
    assert names_on(four_servers) == ["web", "web", "", ""]


def test_workers_run_on_their_role_and_beat_on_one_server(four_servers: Inventory) -> None:
    add(four_servers, "worker", "worker")
    add(four_servers, "beat", "beat")
    assert names_on(four_servers) == ["beat web", "web", "worker", "worker"]
    four_servers.environment.processes.filter(name="beat").update(roles=["worker"])
    assert names_on(four_servers) == ["web", "web", "beat worker", "worker"]


def test_without_their_role_workers_run_beside_the_web(four_servers: Inventory) -> None:
    four_servers.environment.placements.update(roles=["app"])
    add(four_servers, "mail", "worker")
    assert names_on(four_servers) == ["mail web"] * 4


def test_a_web_server_of_ones_own_replaces_gunicorn(four_servers: Inventory) -> None:
    add(four_servers, "sockets", "asgi")
    assert names_on(four_servers) == ["sockets", "sockets", "", ""]


def test_a_web_server_on_some_servers_only_leaves_no_gunicorn_on_the_others(
    four_servers: Inventory,
) -> None:
    add(four_servers, "sockets", "asgi", roles=["worker"])
    assert names_on(four_servers) == ["", "", "sockets", "sockets"]


def test_lines_of_a_procfile_run_by_their_names(four_servers: Inventory, tmp_path: Path) -> None:
    Environment.objects.update(procfile=True)
    release = tmp_path / "releases/r1"
    release.mkdir(parents=True)
    (tmp_path / "current").symlink_to(release)
    (release / "Procfile").write_text(
        "# processes\nweb: gunicorn config.wsgi --bind 0.0.0.0:$PORT\nworker: celery -A x worker\n"
        "clock: celery -A x beat\nrelease: python manage.py migrate\nnot a line\n"
    )
    assert names_on(four_servers, tmp_path) == ["clock web", "web", "worker", "worker"]
    add(four_servers, "clock", "beat", roles=["worker"])
    assert names_on(four_servers, tmp_path) == ["web", "web", "clock worker", "worker"]


@pytest.mark.parametrize(
    "command",
    ["run {nothing}", "run {port!r}", "run {port:>9}", "run {", "run {}", "a\x00b", "{port.real}"],
)
def test_a_command_with_what_is_not_a_placeholder_is_refused(
    four_servers: Inventory, command: str
) -> None:
    process = Process(
        environment=four_servers.environment, name="one", kind="command", command=command
    )
    with pytest.raises(ValidationError):
        process.full_clean()
    process.save()
    with pytest.raises(InvalidRow):
        names_on(four_servers)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"kind": "command"}, "Enter the command"),
        ({"kind": "command", "name": "web", "command": "granian x"}, "choose a web server"),
        ({"kind": "worker", "command": "celery -A x beat"}, "choose the kind beat"),
        ({"health": "http"}, "Enter the URL"),
        ({"kind": "beat", "health": "ping"}, "Only a Celery worker"),
        ({"name": "a b"}, "Use lower case"),
        ({"kind": "command", "command": "flower --port {port}"}, "Enter the address"),
        ({"roles": "worker"}, "JSON list"),
    ],
)
def test_a_row_that_can_not_run_is_refused(
    four_servers: Inventory, values: dict[str, Any], why: str
) -> None:
    process = Process(environment=four_servers.environment, **{"name": "one", **values})
    with pytest.raises(ValidationError, match=why):
        process.full_clean()


def test_the_page_names_all_kinds_placeholders_and_supervisors() -> None:
    text = PAGE.read_text()
    for name in PLACEHOLDERS:
        assert f"`{{{name}}}`" in text
    for name in [*Process.Kind.values, *Environment.Supervisor.values]:
        assert f"\n| {name} |" in text
    for name in Environment.ReloadMethod.values:
        assert name == "none" or f"| {name} " in text or f", {name} |" in text


def test_one_server_is_served_in_another_way(four_servers: Inventory) -> None:
    """As a site that nginx serves on one server, and Apache on another."""
    environment = four_servers.environment
    apache = environment.placements.get(server__name="a2")
    apache.own_reload_method, apache.own_reload_target = "touch", "config/wsgi.py"
    apache.full_clean()
    apache.save()
    assert names_on(four_servers) == ["web", "", "", ""]
    ways = [site_of(placement).reload for placement in environment.placements.all()]
    assert [way.method for way in ways] == ["gunicorn", "touch", "gunicorn", "gunicorn"]
    assert environment.reloads == {("gunicorn", ""), ("touch", "config/wsgi.py")}
    apache.own_reload_target = "../wsgi.py"
    with pytest.raises(ValidationError, match="path inside the code"):
        apache.full_clean()
