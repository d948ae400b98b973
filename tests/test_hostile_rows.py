"""What rows hold that were written around every form: refused by the worker, before any server."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db.models import Field, JSONField, Model

from deploy_manager.addresses import address_of
from deploy_manager.deployments.choices import retry
from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.request import request
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import InvalidRow, PinError, RequestRefused
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Placement,
    Project,
    Release,
    Requirement,
    Server,
    State,
    Step,
)
from deploy_manager.models.message_field import MessageField
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.packages.repository import mirror_of
from deploy_manager.row_checks import check_environment, check_release, check_row
from tests.inventory import Inventory, claim
from tests.parts.admin import write_deployment
from tests.parts.hostile import NULL, make_rows

pytestmark = [pytest.mark.django_db]

WORDS = ["a; touch x", "$(touch x)", "`touch x`", "a\nb", "a\0b", "-x", "a b", "a'b", 'a"b', "a|b"]
NAMES = [*WORDS, "", "1A", "A=B", "A-B", "é", "A\n", "\ud800", "A" * 201, "a;touch${IFS}x"]
VALUES: list[object] = [1, None, True, ["a"], {"a": "b"}, "a\0", "\ud800", "x" * (64 * 1024 + 1)]
PATHS = ["..", ".", "", "/", "/etc", "../x", "a/..", "a/../../x", "a/./b", "a//b", "a/", "-x"]
OURS = ["venv", "venv/lib", ".complete", "venv.new"]
WRONG_TYPES: list[object] = ["media", 1, {"media": 1}, [1], [None], [["media"]], True]

HOSTILE: dict[str, list[object]] = {
    "environment.variables": [
        *({name: "1"} for name in NAMES),
        *({"A": value} for value in VALUES),
        {f"A{number}": "x" * 60_000 for number in range(10)},
        [1],
        ["A"],
        "A=1",
        1,
        True,
    ],
    "environment.shared": [
        *([path] for path in [*PATHS, *WORDS, *OURS, "x" * 201]),
        *WRONG_TYPES,
        ["x"] * 101,
    ],
    "environment.role_order": [*([word] for word in WORDS), *WRONG_TYPES],
    "environment.deploy_path": [*WORDS, "", "srv", "/", "/srv/../etc", "/srv/./x", "/" + "x" * 200],
    "environment.settings_module": [*WORDS, "a/b", "a."],
    "environment.python": [*WORDS, "python3 -c id", ""],
    "environment.index_url": [*WORDS, "https://me:secret@x/", "ftp://x/", "--extra-index-url"],
    "environment.wsgi_application": [*WORDS, "a:b()"],
    "environment.bind": [*WORDS, "", "unix:run"],
    "environment.health_path": [*WORDS, "http://x/", "/a b"],
    "environment.health_host": [*WORDS[:5], "a b", "a'b", "a\r\nX: y"],
    "environment.smoke_command": ["true\0", "true\x1b[2J", "true \u202e", "x" * 301],
    "environment.build_commands": [
        *([line] for line in ("true\0", "true\x1b[2J", "true \u202e", "", " ", "x" * 1001)),
        *WRONG_TYPES,
        ["x"] * 51,
    ],
    "environment.reload_target": ["a\0b", "a\x1bb", "x" * 301],
    "environment.installer": ["sh", ""],
    "environment.wheels": ["none", ""],
    "environment.migrate": ["sometimes", ""],
    "environment.migrate_databases": [
        *([word] for word in WORDS),
        *WRONG_TYPES[1:],
        ["default", "default"],
    ],
    "environment.lock_timeout": [0, 3601],
    "environment.keep_backups": [101],
    "environment.strategy": ["some"],
    "environment.reload_method": ["sh"],
    "environment.pins_from": ["index"],
    "environment.workers": [0, 65],
    "environment.health_status": [0, 600],
    "environment.keep_releases": [0],
    "environment.canary": ["x", "200 %"],
    "environment.windows": [["never"], "mon", [1]],
    "project.repository": [*WORDS, "ext::sh -c id", "--upload-pack=id", "git@-oProxyCommand:x", ""],
    "project.folder": [*PATHS[:2], *PATHS[3:], *WORDS, *OURS],
    "project.requirements_file": [*PATHS, *WORDS],
    "placement.roles": [*([word] for word in WORDS), *WRONG_TYPES, [], None, {}],
    "placement.own_deploy_path": [*WORDS, "srv", "/srv/../x"],
    "placement.own_bind": [*WORDS],
    "server.name": [*WORDS, "", "../x"],
    "server.address": [*(word for word in WORDS), "me@web"],
    "server.user": [*WORDS, "-oProxyCommand"],
    "server.port": [0, 65536],
    "server.connection": ["telnet"],
    "release.name": ["", "..", ".", "../x", "a/b", "r1.part", *WORDS],
    "release.commit": ["", "--output=x", "main", "C" * 40, *WORDS],
    "release.build": [["true\0"], ["true \u202e"], [""], ["x" * 1001], ["x"] * 51, *WRONG_TYPES],
    "requirement.name": ["", "Django", "a_b", "a\n", "-r", "a\nevil==6", "a==1", *WORDS],
    "requirement.version": [
        *("", "1.0\nevil==6", "1.0\n", " 1.0", "1.0 --hash=x", "1.*", ">=1", "1.0;x", "latest"),
        *("1.0 ; os_name", "1.0\\", "1.0#", "1.0,<2", "1" * 101, *WORDS),
    ],
    "requirement.extras": [["a]==6\nb["], ["a,b"], ["a b"], [""], ["a\n"], *WRONG_TYPES[1:]],
    "requirement.marker": [
        *("x", "os_name == 'a'\nevil==6", "os_name == 'a' # x", "os_name == ' --hash=sha256:0'"),
        *("os_name == '${HOME}'", "os_name == 'a\\\\'", "os_name == '\x1b[2J'", *WORDS),
    ],
    "requirement.hashes": [
        *(["md5:" + "0" * 32], ["sha256:0"], ["sha256:" + "0" * 64 + "\nevil==6"], ["x"]),
        *WRONG_TYPES,
    ],
    "deployment.arguments": [
        *([""], ["-c"], ["--settings=x", "migrate"], ["a b"], ["../x"], ["tell", "\x1b[2J"]),
        *(["tell", "\u202e"], ["tell", "x" * 10_000], ["tell"] * 101, ["tell", 1]),
        *WRONG_TYPES,
    ],
    "deployment.forced_migrations": [["x"], ["a.b; touch x"], ["a.b\n"], *WRONG_TYPES],
}
"""For each field what nothing may take that goes on to a server, a repository or a file."""


@pytest.fixture
def rows(inventory: Inventory) -> dict[str, Model]:
    """One row of each kind, all of them sound."""
    environment = inventory.environment
    lock = LockFile.objects.of("0" * 64, "django==5.2.8\n")
    return {
        "environment": environment,
        "project": environment.project,
        "placement": environment.placements.get(),
        "server": Server.objects.create(name="web1", address="192.0.2.1", user="deploy"),
        "release": Release.objects.make(environment, "c" * 40, "Begin", lock),
        "requirement": Requirement(
            environment=environment,
            name="django",
            version="5.2.8",
            extras=["argon2"],
            marker="python_version < '4'",
            hashes=["sha256:" + "0" * 64],
        ),
        "deployment": Deployment(environment=environment, forced_migrations=["shop.0005_name"]),
    }


@pytest.mark.parametrize("field", HOSTILE)
def test_what_no_form_takes_the_worker_does_not_take_either(
    field: str, rows: dict[str, Model]
) -> None:
    kind, name = field.split(".")
    row = rows[kind]
    check_row(row, name)
    taken = []
    for value in HOSTILE[field]:
        setattr(row, name, value)
        with suppress(InvalidRow):
            check_row(row, name)
            taken.append(value)
    assert not taken


@pytest.mark.parametrize(
    ("method", "targets"),
    [
        ("touch", ["../x", "/etc/passwd", "-x", "a b"]),
        ("systemd", ["--force", "a b", "a;b", "../x", "a\nb"]),
        ("systemd-user", ["-H", "a b"]),
        ("supervisor", ["-c", "all x", "a;b", "a\nb"]),
    ],
)
def test_what_is_to_be_reloaded_fits_the_way(
    inventory: Inventory, method: str, targets: list[str]
) -> None:
    environment = inventory.environment
    environment.reload_method = method
    for target in targets:
        environment.reload_target = target
        with pytest.raises(InvalidRow, match="reload_target"):
            check_environment(environment)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("touch", "config/wsgi.py"),
        ("systemd", "shop@1.service"),
        ("supervisor", "shop:*"),
        ("command", "sh -c 'kill -HUP \"$(cat x)\"' && true"),
    ],
)
def test_and_what_fits_is_taken(inventory: Inventory, method: str, target: str) -> None:
    environment = inventory.environment
    environment.reload_method, environment.reload_target = method, target
    check_environment(environment)


@pytest.mark.parametrize(
    "text",
    [
        "django==5.2.8\n--index-url https://evil.example/\n",
        "-e git+https://evil.example/x#egg=x\n",
        "django\n",
        "django==5.2.8 --global-option=x\n",
        "django @ https://evil.example/x.whl\n",
    ],
)
def test_a_lock_is_exact_pins_and_nothing_else(rows: dict[str, Model], text: str) -> None:
    release = rows["release"]
    assert isinstance(release, Release)
    check_release(release)
    release.lock.text = text
    with pytest.raises(InvalidRow, match="not a full set of exact pins"):
        check_release(release)


def test_a_pin_that_is_two_is_none(inventory: Inventory) -> None:
    row = inventory.environment.requirements.create(name="good", version="1.0")
    assert [pin.version for pin in checked_pins_of(inventory.environment)] == ["1.0"]
    Requirement.objects.filter(pk=row.pk).update(version="1.0\nevil==6")
    with pytest.raises(PinError, match="version"):
        checked_pins_of(inventory.environment)


CHANGES: list[tuple[type[Model], dict[str, object]]] = [
    (Environment, {"variables": {"a; touch x": "1"}}),
    (Environment, {"variables": {"A": 1}}),
    (Environment, {"variables": ["A"]}),
    (Environment, {"shared": [".."]}),
    (Environment, {"deploy_path": "/srv/../etc"}),
    (Environment, {"smoke_command": "true\0"}),
    (Environment, {"build_commands": ["true\0"]}),
    (Environment, {"reload_method": "touch", "reload_target": "../../x"}),
    (Project, {"folder": "../x"}),
    (Project, {"repository": "ext::sh -c 'touch x'"}),
    (Placement, {"own_bind": "a; touch x"}),
    (Placement, {"own_deploy_path": "relative"}),
    (Server, {"name": "one\nServer two"}),
    (Deployment, {"forced_migrations": {"a": 1}}),
    (Step, {"resume_cursor": {"command": "x"}}),
    (Step, {"resume_cursor": [1]}),
]


@pytest.mark.parametrize(("kind", "values"), CHANGES)
def test_a_deployment_of_such_a_row_fails_before_any_server(
    inventory: Inventory, own_recipes: None, kind: type[Model], values: dict[str, object]
) -> None:
    deployment = inventory.request("greet")
    kind._default_manager.update(**values)
    with pytest.raises(InvalidRow, match=rf"\({next(reversed(values))}\)|is stored"):
        prepare(claim(deployment))


@pytest.mark.django_db(transaction=True)
def test_and_its_message_says_so(inventory: Inventory, own_recipes: None) -> None:
    deployment = inventory.request("greet")
    Environment.objects.update(variables={"a; touch x": "1"})
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert "a; touch x is not the name of a variable." in deployment.message
    assert deployment.message.endswith("No server was touched.")
    assert not list((inventory.folder / "one").iterdir())


def test_all_servers_are_looked_at_before_the_first_is_touched(
    inventory: Inventory, own_recipes: None
) -> None:
    second = inventory.add_server("two")
    deployment = inventory.request("greet")
    Server.objects.filter(pk=second.server_id).update(name="two; touch x")
    with pytest.raises(InvalidRow, match="two; touch x"):
        prepare(claim(deployment))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Environment, {"role_order": [1]}),
        (Environment, {"role_order": {"app": 1}}),
        (Environment, {"role_order": NULL}),
        (Environment, {"migrate": "sometimes"}),
        (Environment, {"strategy": "waves", "canary": "x"}),
        (Placement, {"roles": 1}),
        (Placement, {"roles": {"app": 1}}),
        (Placement, {"roles": [["app"]]}),
    ],
)
def test_what_can_not_be_planned_is_refused_in_words(
    inventory: Inventory, kind: type[Model], values: dict[str, object]
) -> None:
    kind._default_manager.update(**values)
    inventory.environment.refresh_from_db()
    with pytest.raises(RequestRefused, match=next(reversed(values))):
        request(inventory.environment, "deploy", source="manage.py", requested_by_name="me@here")


@pytest.mark.parametrize("column", ["role_order", "variables", "shared", "migrate_databases"])
def test_the_null_of_json_is_refused_in_words_and_not_read_as_blank(
    inventory: Inventory, own_recipes: None, column: str
) -> None:
    deployment = inventory.request("greet")
    Environment.objects.update(**{column: NULL})
    with pytest.raises(InvalidRow, match=rf"\({column}\): Enter a JSON"):
        prepare(claim(deployment))


def test_a_retry_of_forced_migrations_that_nobody_can_read_is_refused_in_words(
    inventory: Inventory,
) -> None:
    deployment = write_deployment(inventory.environment, state=State.FAILED)
    Deployment.objects.update(forced_migrations=NULL)
    deployment.refresh_from_db()
    with pytest.raises(RequestRefused, match="forced_migrations"):
        retry(deployment)


JSON_FIELDS = [
    field
    for model in apps.get_app_config("deploy_manager").get_models()
    for field in model._meta.concrete_fields
    if isinstance(field, JSONField) and not isinstance(field, MessageField)
]
BLANK: tuple[object, ...] = (None, "", [], {})
ANY_JSON: list[object] = [
    *(None, "", 0, 1.5, False, True, "x", "\ud800", [], {}, [None], [1], [{}], [[]], [["x"]]),
    *([{"x": [{}]}], ["x"], ["\ud800"], {"x": None}, {"": {}}, {"x": "\ud800"}, [True, "x", {}]),
]


@pytest.mark.parametrize("field", JSON_FIELDS, ids=str)
def test_whatever_json_is_valid_or_an_error_of_validation(field: "Field[Any, Any]") -> None:
    for validator in field.validators:
        for value in ANY_JSON:
            with suppress(ValidationError):
                validator(value)


@pytest.mark.parametrize("field", [each for each in JSON_FIELDS if each.has_default()], ids=str)
def test_what_is_blank_is_of_its_own_kind(db: None, field: "Field[Any, Any]") -> None:
    make_rows()
    row = field.model._default_manager.first() or field.model()
    if field.blank:
        setattr(row, field.attname, field.get_default())
        check_row(row, field.name)
    for blank in BLANK:
        if type(blank) is not type(field.get_default()):
            setattr(row, field.attname, blank)
            with pytest.raises(InvalidRow, match=field.name):
                check_row(row, field.name)


def test_a_repository_is_looked_at_wherever_it_is_read(inventory: Inventory) -> None:
    project = inventory.environment.project
    project.repository = "ext::sh -c id"
    with pytest.raises(InvalidRow, match="repository"):
        mirror_of(project)


def test_a_password_in_a_repository_s_url_is_refused_and_not_repeated(
    inventory: Inventory,
) -> None:
    project = inventory.environment.project
    project.repository = "https://me:s3cret@git.example.org/shop.git"
    with pytest.raises(InvalidRow, match="without user name, password and token") as refusal:
        mirror_of(project)
    assert "s3cret" not in str(refusal.value)


def test_an_address_is_looked_at_with_its_gateways(db: None, tmp_path: Path) -> None:
    gateway = Server(name="source", address="-oProxyCommand=id", user="deploy")
    server = Server(name="web1", address="192.0.2.1", user="deploy", gateway=gateway)
    with pytest.raises(InvalidRow, match=r"server source .*address"):
        address_of(server)
