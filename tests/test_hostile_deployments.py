"""Hostile text on its way to a server: refused before any server, or carried there as it is."""

import json
import os
import shlex
import signal
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, models, transaction
from pytest_django import Settings

from deploy_manager.deployments.orders import orders_of
from deploy_manager.deployments.prepare import prepare
from deploy_manager.deployments.request import DeploymentOptions, request
from deploy_manager.deployments.run import run
from deploy_manager.deployments.site_tiers import tiers_on
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.models import (
    Credential,
    Deployment,
    Environment,
    Release,
    SecretVariable,
    Server,
    State,
)
from deploy_manager.models.requirements import LockFile
from deploy_manager.models.secret_variables import secret_of
from deploy_manager.models.validators import validate_command
from deploy_manager.packages.overrides import lay_over
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.row_checks import check_credential, check_host_run, check_release, check_row
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import open_secrets
from tests.inventory import Inventory, claim, make_inventory
from tests.parts.admin import write_deployment
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.hostile_fields import Known, tried_by
from tests.parts.injection import CANARY, VALUES
from tests.parts.matrices import few
from tests.parts.repository import Repository
from tests.parts.sshd import StartSshd
from tests.test_injection import MANAGE, SENT
from tests.test_over_ssh import PINS, place, reach_over_ssh


@pytest.fixture(autouse=True)
def canary() -> Iterator[None]:
    """Nothing has made the canary, whatever the test did."""
    yield
    assert not Path(CANARY).exists()


# What is written around every form


@pytest.fixture
def shop(repository: Repository, ssh_settings: Settings, db: None, tmp_path: Path) -> Environment:
    """A site on one server that nobody reaches, with a row of each kind that is sent there."""
    repository.commit("Begin", {"manage.py": "", "requirements.txt": "kit==1.0\n"})
    environment = make_inventory(tmp_path, str(repository.path)).environment
    Environment.objects.update(index_url="http://127.0.0.1:9/")  # nobody answers there
    gate = Server.objects.create(name="gate", address="192.0.2.1", user="deploy")
    server = Server.objects.create(
        name="web1", address="192.0.2.2", user="deploy", gateway=gate, host_key="ssh-ed25519 AAAA"
    )
    environment.placements.create(server=server, roles=["app", "static"])
    environment.secret_variables.create(name="API_KEY", value=Secret("not known"))
    environment.processes.create(name="worker", command="sleep 1000")
    environment.tiers.create(kind="redis", name="redis", roles=["app"])
    environment.tiers.create(
        kind="nginx", name="nginx", listen=["http://*:80"], names=["shop.example.org"]
    )
    staging = environment.project.environments.create(name="staging", deploy_path="/srv/staging")
    staging.overrides.create(name="kit", version="1.0")
    environment.requirements.create(name="kit", version="1.0")
    lock = LockFile.objects.of("0" * 64, "kit==1.0\n")
    Release.objects.make(environment, "c" * 40, "Begin", lock)
    write_deployment(environment, state=State.FAILED)
    Credential.objects.create(name="sudo", kind="sudo", source="file", reference="/etc/password")
    return environment


def look_as_a_worker(environment: Environment) -> None:
    """Do all that a worker does before it connects. Raises DeployManagerError."""
    # Read anew, as another process would.
    environment = Environment.objects.select_related("project").get(pk=environment.pk)
    deployment = request(environment, source="manage.py", requested_by_name="me@here")
    held = claim(deployment)
    orders_of(held, prepare(held), Event(), open_secrets(environment))


def look_at(known: Known, environment: Environment) -> None:
    """Do what the worker does with such a row before it reaches any server."""
    kind = known.model.__name__
    if kind == "Credential":
        check_credential(Credential.objects.get())
    elif kind in ("Release", "LockFile", "Override", "Requirement", "Deployment", "Step"):
        look_at_a_release(known, environment)
    elif kind == "Tier":
        tiers_on(environment.placements.select_related("environment", "server").get())
    else:
        look_as_a_worker(environment)


def look_at_a_release(known: Known, environment: Environment) -> None:
    kind = known.model.__name__
    if kind in ("Release", "LockFile"):
        check_release(environment.releases.select_related("lock").get())
    elif kind == "Requirement":
        checked_pins_of(environment)
    elif kind == "Override":
        lay_over(Environment.objects.get(name="staging"), ())
    elif kind == "Deployment":
        check_row(Deployment.objects.get(), known.field.name)
    else:
        check_host_run(Deployment.objects.get().host_runs.get())


PREPARED = [each for each in tried_by("prepared") if not each.field.choices]
TURNS = few(*range(24))


JUDGED_WHOLE = frozenset(
    {
        *("Override.version", "Override.marker", "Override.extras", "Override.hashes"),
        *("LockFile.text", "Step.resume_cursor", "Tier.options"),
    }
)
"""No form has them, or the whole row decides: of these the worker takes none of the values."""


def fits(known: Known, value: object) -> bool:
    """Whether a form would have taken it."""
    if str(known) in JUDGED_WHOLE:
        return False
    try:
        known.field.clean(value, known.model())
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("turn", TURNS)
def test_what_no_form_takes_reaches_no_server_however_it_was_written(
    shop: Environment, turn: int
) -> None:
    with transaction.atomic():
        look_as_a_worker(shop)  # as it is, nothing is refused
        transaction.set_rollback(True)
    taken = []
    for number, known in enumerate(PREPARED):
        value = VALUES[(turn * 17 + number * 5) % len(VALUES)]
        spoilt = [each for each in known.spoilt(value) if not fits(known, each)]
        for each in spoilt[turn % max(1, len(spoilt)) :][:1]:
            if is_taken(known, each, shop):
                taken.append(f"{known}: {each!r}")
    assert not taken


def is_taken(known: Known, value: object, environment: Environment) -> bool:
    # The last one: of the servers, that which is not only a gateway.
    order = "pk" if known.model is Environment else "-pk"
    table: models.QuerySet[Any] = models.QuerySet(known.model)
    rows = table.filter(pk__in=table.order_by(order).values("pk")[:1])
    with transaction.atomic():
        try:
            with transaction.atomic():
                assert rows.update(**{known.field.attname: value}), f"{known} has no row"
            look_at(known, environment)
            return True
        except (DatabaseError, UnicodeEncodeError, DeployManagerError):
            return False
        finally:
            transaction.set_rollback(True)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("column", ["ref", "commit"])
def test_what_a_request_is_changed_to_is_resolved_by_nobody(
    shop: Environment, column: str, turn: int
) -> None:
    for value in VALUES[turn :: len(TURNS)]:
        with transaction.atomic():
            deployment = request(shop, source="manage.py", requested_by_name="me@here")
            with suppress(UnicodeEncodeError):
                Deployment.objects.filter(pk=deployment.pk).update(**{column: value})
                with pytest.raises(DeployManagerError):
                    prepare(claim(Deployment.objects.get(pk=deployment.pk)))
            transaction.set_rollback(True)


# What is carried to a server

SITE_WSGI = """
import json, os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    values = {name: value for name, value in os.environ.items() if name.startswith("HOSTILE_")}
    return [json.dumps(values).encode() + os.environ["GREETING"].encode()]
"""


def can_be_typed(value: str) -> bool:
    try:
        validate_command(value)
    except ValidationError:
        return False
    return "\r" not in value


TYPED = tuple(filter(can_be_typed, SENT))
"""Those that can stand in a command."""


@pytest.fixture
def production(
    start_sshd: StartSshd, ssh_settings: Settings, tmp_path: Path, transactional_db: None
) -> Iterator[Inventory]:
    """`shop/production` on one server over SSH, by pip and gunicorn, from an odd folder."""
    sshd = start_sshd()
    repository = Repository.make(tmp_path / "shop -e ~+touch x")
    made = make_site(tmp_path, repository, sshd.home / "unused.sqlite3")
    made.environment.processes.create(
        name="worker", kind="command", command="sleep 1000", health="command", health_target="true"
    )
    Environment.objects.update(
        wsgi_application="site_wsgi:application",
        health_path="/",
        installer=Environment.Installer.PIP,
        migrate=Environment.Migrate.NEVER,
    )
    made.environment.refresh_from_db()
    server = Server(name="web1")
    reach_over_ssh(server, sshd)
    place(made, server, sshd)
    yield made
    end_gunicorns(made.environment)
    end_worker(f"{sshd.home}/site")


def end_worker(deploy_path: str) -> None:
    """End the site's other process, which is no gunicorn."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"DEPLOY_PATH={deploy_path}".encode() in file.read_bytes().split(b"\0"):
                os.kill(int(file.parent.name), signal.SIGKILL)


@dataclass(frozen=True)
class Turn:
    """One deployment, and which values stand where in it."""

    inventory: Inventory
    number: int

    def some(self, count: int, place: int, among: Sequence[str] = TYPED) -> list[str]:
        """Return values for one place: in all turns together, each value is in each place."""
        first = (self.number * count + place * 31) % len(among)
        return [*among, *among][first : first + count]

    def one(self, place: int, among: Sequence[str] = TYPED) -> str:
        return self.some(1, place, among)[0]

    def written(self, name: str, place: int) -> str:
        """Return a command that writes values to a file, each quoted as one word."""
        words = map(shlex.quote, self.some(WORDS, place))
        return f"printf '%s\\0' {' '.join(words)} > {name}"

    def set_up(self) -> None:
        """Write the values into a commit and into rows, each as a form would take it."""
        environment = self.inventory.environment
        build = [self.written("from_the_repository", 1)]
        repository = Repository(Path(environment.project.repository))
        branch = ("!!", "main!!")[self.number % 2]
        repository.git("checkout", "-qB", branch, "main")
        files = {"manage.py": MANAGE, "site_wsgi.py": SITE_WSGI, "requirements.txt": PINS}
        files["deploy.toml"] = f"build = {json.dumps(build)}\n"
        repository.commit(self.one(2, SENT), files)
        self._set_up_rows(environment, branch)

    def _set_up_rows(self, environment: Environment, branch: str) -> None:
        environment.ref, environment.health_text = branch, self.one(3).strip()
        environment.build_commands = [self.written("from_the_row", 4)]
        environment.smoke_command = f"printf %s {shlex.quote(self.one(5))} > smoked"
        environment.variables = {
            "GREETING": f"{environment.health_text} and more",
            **{f"HOSTILE_{number}": text for number, text in enumerate(self.some(20, 6, SENT))},
        }
        environment.secret_variables.all().delete()
        environment.full_clean()
        environment.save()
        secret = next(text for text in self.some(9, 7, SENT) if len(text.strip()) > 8)
        SecretVariable.objects.put(environment, "HOSTILE_SECRET", secret_of(secret), "somebody")
        worker = environment.processes.get()
        text = f"{self.one(8)}x"
        inner = 'printf %s "$1" > "$DEPLOY_PATH/ran"; exec sleep 1000'
        line = shlex.join(["sh", "-c", inner, "sh", text])
        worker.command = line.replace("{", "{{").replace("}", "}}")
        worker.health_target = f'test "$(cat "$DEPLOY_PATH/ran")" = {shlex.quote(text)}'
        worker.full_clean()
        worker.save()

    def deploy(self) -> Deployment:
        made = request(
            self.inventory.environment,
            source="manage.py",
            requested_by_name=self.one(9, SENT)[:200],
            options=DeploymentOptions(reason=self.one(10, SENT)),
        )
        run(made.pk)
        made.refresh_from_db()
        return made

    def check(self, deployment: Deployment) -> None:
        """Whatever was said of it is true: each text arrived as it is, and was nothing else."""
        assert (deployment.state, str(deployment.message)) == (State.SUCCEEDED, "")
        placement = self.inventory.environment.placements.get()
        code = Path(placement.deploy_path, "current")
        assert words_in(code / "from_the_repository") == self.some(WORDS, 1)
        assert words_in(code / "from_the_row") == self.some(WORDS, 4)
        assert (code / "smoked").read_bytes().decode() == self.one(5)
        assert Path(placement.deploy_path, "ran").read_bytes().decode() == f"{self.one(8)}x"
        with urllib.request.urlopen(f"http://{placement.bind}/") as said:
            served, _end = json.JSONDecoder().raw_decode(said.read().decode())
        secret = next(text for text in self.some(9, 7, SENT) if len(text.strip()) > 8)
        expected = enumerate(self.some(20, 6, SENT))
        assert served == {
            "HOSTILE_SECRET": secret,
            **{f"HOSTILE_{number}": text for number, text in expected},
        }
        assert deployment.release is not None
        assert not Path(CANARY).exists()


WORDS = 8
"""In one command of a build."""


def words_in(file: Path) -> list[str]:
    return file.read_bytes().decode().split("\0")[:-1]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("turns", few(range(2), range(2, 14), range(14, 26)), ids=str)
def test_whatever_a_form_takes_arrives_at_the_server_as_it_is(
    production: Inventory, turns: range
) -> None:
    for number in turns:
        turn = Turn(production, number)
        turn.set_up()
        turn.check(turn.deploy())
