"""Rules that hold whoever writes: the database itself keeps them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import Max, ProtectedError
from django.forms import modelform_factory
from django.utils import timezone

from deploy_manager.models import (
    LIVE,
    Deployment,
    Environment,
    HostRun,
    LockFile,
    Placement,
    Project,
    Release,
    Requirement,
    Server,
    State,
    Step,
)
from tests.inventory import Inventory
from tests.parts.admin import write_deployment, write_output
from tests.parts.hostile import FIRST, LAST, make_rows

pytestmark = [pytest.mark.database, pytest.mark.django_db]

MODELS: dict[str, type[models.Model]] = {
    model.__name__: model for model in (Environment, Placement, Project, Server)
}
ALLOWED = {
    "Project.name": ["shop", "a", "my-shop_2"],
    "Project.repository": [
        "https://git.example.org/team/shop.git",
        "ssh://git@git.example.org:2222/~team/shop.git",
        "git@git.example.org:team/shop.git",
        "/srv/git/my shop.git",
    ],
    "Project.folder": ["site", "src/site", ".hidden/site", "a..b"],
    "Environment.ref": ["main", "feature/x", "v1.0", "release-2@3", "c" * 40],
    "Environment.deploy_path": ["/srv/shop", "/srv/~shop/a..b/.c"],
    "Environment.settings_module": ["settings", "config.settings"],
    "Environment.python": ["python3", "python3.12", "/opt/python-3.12/bin/python3"],
    "Environment.index_url": ["https://index.example.org:8443/simple/", "file:///srv/index"],
    "Environment.wsgi_application": ["wsgi:app", "config.wsgi:application"],
    "Environment.bind": ["127.0.0.1:8001", "[::1]:80", "web1:80", "unix:/run/shop/web.sock"],
    "Environment.health_path": ["/", "/health/?full=1&x=%20"],
    "Environment.health_host": ["www.example.org", "localhost:8000"],
    "Server.name": ["web1", "web1.example.org", "10.0.0.1"],
    "Server.address": ["web1.example.org", "192.0.2.1", "2001:db8::1"],
    "Server.user": ["deploy", "_www", "deploy.shop-1"],
    "Placement.own_deploy_path": ["/srv/shop"],
    "Placement.own_bind": ["127.0.0.1:8001"],
}
EVIL = ["$(id)", "`id`", "a b\n", "a;id", "a|id", "a&id", "../x", "a\0b"]
EVIL_ENDS = ["\n", "\r\nX: y", "\0", "$(id)", "`id`", "'", '"', "\\", "|id", ">x", "\x1b[2J"]
REFUSED: dict[str, list[object]] = {
    "Project.name": ["-x", "Shop", "2shop", "shop/x", "x" * 51],
    "Project.repository": [
        "ext::sh -c id",
        "--upload-pack=id",
        "-git@host:shop.git",
        "git@-oProxyCommand:shop.git",
        "ssh://-oProxyCommand/shop.git",
        "ssh://git@-oProxyCommand/shop.git",
        "shop.git",
        "https://me:s3cret@git.example.org/shop.git",
        "HTTPS://me:s3cret@git.example.org/shop.git",
        "https://s3cret@git.example.org/shop.git",
        "ssh://git:s3cret@git.example.org/shop.git",
    ],
    "Project.folder": ["/site", "site/", "./site", "site/../..", "site/..", "a//b"],
    "Environment.ref": ["--help", "a..b", "a//b", "main/", "a.lock", "HEAD@{1}", "v1^", "a:b"],
    "Environment.deploy_path": ["srv", "/", "/srv/", "/srv//x", "/srv/./x", "/srv/../x", "/.."],
    "Environment.settings_module": ["config.", ".config", "a-b", "a/b"],
    "Environment.python": ["-c", "python3 -c", "/", "/usr/bin/"],
    "Environment.index_url": ["https://me:secret@index.example.org/", "ftp://x/", "https://x/?a=b"],
    "Environment.wsgi_application": ["wsgi", "wsgi:", "wsgi:app()", "a/b:app"],
    "Environment.bind": ["127.0.0.1", ":80", "unix:run", "127.0.0.1:800000", "a/b:80"],
    "Environment.health_path": ["health", "http://x/", "/a b", "/#x"],
    "Environment.health_host": ["a/b", "a:b", "me@a"],
    "Environment.variables": [[1], "A=1", {"A=B": ""}, {"1A": ""}, {"": ""}, {"A": 1}, {"A": "\0"}],
    "Environment.shared": ["media", {"media": 1}, [1], ["/media"], ["../media"], ["a\n"], [""]],
    "Server.name": ["-x", ".web", "_web", "web/1", "x" * 101],
    "Server.address": ["-x", "web-", "me@web", "web:22x", "a/b", "web_1"],
    "Server.user": ["-x", "1deploy", "me@web", "x" * 33],
    "Server.port": [0, -1, 65536, "22;id"],
    "Placement.own_deploy_path": ["/srv/./x", "/srv/../x"],
    "Placement.roles": ["app", {"app": 1}, [1], ["App"], ["-x"], ["a;id"]],
}


def is_allowed(field: str, value: object) -> bool:
    """Whether a form takes this value for `Model.field`."""
    model, name = field.split(".")
    column = MODELS[model]._meta.get_field(name)
    assert isinstance(column, models.Field)
    try:
        column.clean(value, None)
    except ValidationError:
        return False
    return True


def refused(write: Callable[[], object], constraint: str) -> bool:
    """Whether the database refuses by this rule. Of unique ones SQLite tells no name."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        write()
    return constraint in str(caught.value) or "UNIQUE constraint failed" in str(caught.value)


def change(row: models.Model, **fields: object) -> Callable[[], object]:
    return lambda: type(row)._default_manager.filter(pk=row.pk).update(**fields)


@pytest.fixture
def deployment(inventory: Inventory) -> Deployment:
    return write_deployment(inventory.environment)


def test_an_environment_has_one_live_deployment(
    inventory: Inventory, deployment: Deployment
) -> None:
    def write() -> object:
        return write_deployment(inventory.environment, state=State.QUEUED)

    assert refused(write, "one_live_deployment_per_environment")


def test_and_as_many_as_it_likes_that_ended(inventory: Inventory) -> None:
    for state in (State.SUCCEEDED, State.FAILED, State.PARTLY_FAILED, State.LOST, State.CANCELLED):
        Deployment.objects.create(
            environment=inventory.environment, state=state, finished_at=timezone.now()
        )
    assert not Deployment.objects.live().exists()


@pytest.mark.parametrize("kind", [Deployment, HostRun, Step])
def test_whatever_ended_has_a_time_and_what_is_live_has_none(
    deployment: Deployment, kind: type[models.Model]
) -> None:
    row = kind._default_manager.get()
    assert refused(change(row, state=State.LOST), "ends_with_a_time")
    assert refused(change(row, finished_at=timezone.now()), "ends_with_a_time")


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (Deployment, "skipped"),
        (Deployment, "done"),
        (HostRun, "partly_failed"),
        (HostRun, "done"),
        (Step, "partly_failed"),
        (Step, "done"),
    ],
)
def test_states_are_those_that_are_known(
    deployment: Deployment, kind: type[models.Model], state: str
) -> None:
    row = kind._default_manager.get()
    write = change(row, state=state, finished_at=timezone.now())
    assert refused(write, "has_a_known_state")


def test_a_host_runs_once_per_deployment(deployment: Deployment) -> None:
    run = deployment.host_runs.get()

    def write() -> object:
        return HostRun.objects.create(
            deployment=deployment, shard=run.shard, placement=run.placement
        )

    assert refused(write, "a_host_runs_once_per_deployment")


def test_steps_and_chunks_of_a_log_stand_in_one_order(deployment: Deployment) -> None:
    step = Step.objects.get()
    chunk = write_output(step, b"hello\n")
    chunk.pk = None
    assert refused(chunk.save, "log_chunks_stand_in_one_order")
    step.pk = None
    assert refused(step.save, "a_step_has_its_own_number")


@pytest.mark.parametrize("missing", ["address", "user"])
def test_a_server_over_ssh_has_an_address_and_a_user(missing: str, db: None) -> None:
    fields = {"address": "192.0.2.1", "user": "deploy", missing: ""}
    server = Server(name="web", **fields)
    assert refused(server.save, f"an_ssh_server_has_a{'n' if missing == 'address' else ''}_")
    with pytest.raises(ValidationError, match=f"needs an? {missing}"):
        server.full_clean()


def test_names_are_told_apart(inventory: Inventory) -> None:
    environment = inventory.environment
    project = environment.project
    lock = LockFile.objects.of("0" * 64, "django==5.2.8\n")
    release = Release.objects.make(environment, "c" * 40, "Begin", lock)
    Requirement.objects.create(environment=environment, name="django", version="5.2.8")
    placement = environment.placements.get()
    for write in (
        lambda: Project.objects.create(name=project.name),
        lambda: Environment.objects.create(project=project, name="production"),
        lambda: Server.objects.create(name="one", connection="local"),
        lambda: Release.objects.create(environment=environment, name=release.name, lock=lock),
        lambda: Requirement.objects.create(environment=environment, name="django", version="6"),
        lambda: Placement.objects.create(
            environment=environment,
            server=placement.server,
            own_deploy_path=placement.own_deploy_path,
        ),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            write()


def test_a_lock_is_written_the_first_time_only(db: None) -> None:
    first = LockFile.objects.of("0" * 64, "django==5.2.8\n")
    assert LockFile.objects.of("0" * 64, "django==5.2.8\n") == first


def test_names_of_releases_sort_by_time_and_tell_the_commit(inventory: Inventory) -> None:
    lock = LockFile.objects.of("0" * 64, "")
    made = [
        Release.objects.make(inventory.environment, f"{number:040x}", "", lock)
        for number in range(3)
    ]
    assert sorted(made, key=lambda release: release.name) == made
    assert Release.objects.latest() == made[-1]
    assert made[0].name.endswith("-00000000")


def test_history_keeps_what_it_speaks_of(deployment: Deployment) -> None:
    environment = deployment.environment
    with pytest.raises(ProtectedError):
        environment.delete()
    environment.placements.get().delete()
    run = deployment.host_runs.get()
    assert (run.placement, run.server_name) == (None, "one")


def test_gateways_lead_back_to_no_server(db: None) -> None:
    front = Server.objects.create(name="front", connection="local")
    back = Server.objects.create(name="back", connection="local", gateway=front)
    front.gateway = back
    with pytest.raises(ValidationError, match="lead back to this server"):
        front.full_clean()


def test_two_sites_do_not_share_a_path_on_a_server(inventory: Inventory, tmp_path: Path) -> None:
    placement = inventory.environment.placements.get()
    other = Environment.objects.create(
        project=inventory.environment.project, name="staging", deploy_path=str(tmp_path / "one")
    )
    with pytest.raises(ValidationError, match=r"shop/production is deployed to .*/one on this"):
        Placement(environment=other, server=placement.server).full_clean()


def test_nor_does_a_site_that_is_only_being_written(inventory: Inventory, tmp_path: Path) -> None:
    placement = inventory.environment.placements.get()
    new = Environment(name="staging", deploy_path=str(tmp_path / "one"))
    with pytest.raises(ValidationError, match=r"shop/production is deployed to .*/one on this"):
        Placement(environment=new, server=placement.server).clean()


def test_an_environment_is_found_as_it_is_typed(inventory: Inventory) -> None:
    found = Environment.objects.named
    assert found("production").get() == found("shop/production").get()
    assert found("production", project="shop").exists()
    assert not found("production", project="forum").exists()
    assert not found("shop").exists()


def test_what_is_live_has_a_state_that_is() -> None:
    assert {state for state in State if state.is_live} == set(LIVE)


@pytest.mark.parametrize("field", ALLOWED)
def test_what_is_meant_is_allowed(field: str) -> None:
    assert [text for text in ALLOWED[field] if not is_allowed(field, text)] == []


@pytest.mark.parametrize("field", ALLOWED)
def test_nothing_is_allowed_that_a_shell_or_a_header_would_read_otherwise(field: str) -> None:
    evil = [text + end for text in ALLOWED[field] for end in EVIL_ENDS]
    assert [text for text in (*evil, *EVIL) if is_allowed(field, text)] == []


@pytest.mark.parametrize("field", REFUSED)
def test_nor_what_only_looks_like_it(field: str) -> None:
    assert [value for value in REFUSED[field] if is_allowed(field, value)] == []


@pytest.mark.parametrize("typed", ["", "null", "[]", "{}", '""'])
def test_an_emptied_box_means_none(inventory: Inventory, typed: str) -> None:
    form = modelform_factory(Environment, fields=["variables", "shared"])
    form({"variables": typed, "shared": typed}, instance=inventory.environment).save()
    inventory.environment.refresh_from_db()
    assert (inventory.environment.variables, inventory.environment.shared) == ({}, [])


@pytest.mark.parametrize("column", ["state", "stream"])
def test_what_code_branches_on_is_one_of_the_choices(column: str) -> None:
    make_rows()
    tables = [
        model
        for model in apps.get_app_config("deploy_manager").get_models()
        if any(field.name == column and field.choices for field in model._meta.concrete_fields)
    ]
    assert tables
    for model in tables:
        assert model._default_manager.exists()
        with pytest.raises(IntegrityError), transaction.atomic():
            model._default_manager.update(**{column: "odd" if column == "state" else 99})


EVERY_ZONE = ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Etc/GMT+12", "UTC"]


@pytest.mark.parametrize("written", [FIRST, LAST, datetime(2026, 2, 28, 12, tzinfo=UTC)], ids=str)
def test_a_moment_that_is_read_exists_everywhere(inventory: Inventory, written: datetime) -> None:
    placements = Placement.objects.all()
    placements.update(seen_at=written)
    read = placements.get().seen_at
    assert read is not None
    assert placements.aggregate(last=Max("seen_at")) == {"last": read}
    assert placements.values_list("seen_at", flat=True).get() == read
    for zone in EVERY_ZONE:
        there = read.astimezone(ZoneInfo(zone))
        assert there - timedelta(days=300) < there < there + timedelta(days=300)
    assert abs(read - written) < timedelta(days=366)
    assert read == written or written in (FIRST, LAST)


def test_every_moment_is_read_so() -> None:
    plain = [
        field
        for model in apps.get_app_config("deploy_manager").get_models()
        for field in model._meta.concrete_fields
        if type(field) is models.DateTimeField
    ]
    assert not plain
