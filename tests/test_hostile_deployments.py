"""Hostile text on its way to a server: refused before any server, or carried there as it is."""

import json
import shlex
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
from deploy_manager.exceptions import DeployManagerError, InvalidRow
from deploy_manager.models import (
    Credential,
    Deployment,
    Environment,
    LogChunk,
    Placement,
    Release,
    Server,
    State,
)
from deploy_manager.models.requirements import LockFile
from deploy_manager.row_checks import check_credential, check_host_run, check_release, check_row
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import open_secrets
from tests.parts.admin import write_deployment
from tests.inventory import Inventory, claim, make_inventory
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.hostile_fields import Known, tried_by
from tests.parts.injection import CANARY, VALUES
from tests.parts.matrices import few
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd
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
    repository.commit("Begin", {"manage.py": "", "requirements.txt": ""})
    environment = make_inventory(tmp_path, str(repository.path)).environment
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
    environment.overrides.create(name="kit", version="1.0")
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
    from deploy_manager.packages.overrides import lay_over
    from deploy_manager.packages.pins import checked_pins_of

    kind = known.model.__name__
    if kind in ("Release", "LockFile"):
        check_release(environment.releases.select_related("lock").get())
    elif kind == "Requirement":
        checked_pins_of(environment)
    elif kind == "Override":
        lay_over(environment, ())
    elif kind == "Deployment":
        check_row(Deployment.objects.get(), known.field.name)
    else:
        check_host_run(Deployment.objects.get().host_runs.get())


PREPARED = [each for each in tried_by("prepared") if not each.field.choices]
TURNS = few(*range(24))


def fits(known: Known, value: object) -> bool:
    """Whether a form would have taken it."""
    try:
        known.field.clean(value, known.model())
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("turn", TURNS)
def test_what_no_form_takes_reaches_no_server_however_it_was_written(
    shop: Environment, turn: int
) -> None:
    with suppress(DeployManagerError):
        look_as_a_worker(shop)
    taken = []
    for number, known in enumerate(PREPARED):
        value = VALUES[(turn * 17 + number * 5) % len(VALUES)]
        spoilt = [each for each in known.spoilt(value) if not fits(known, each)]
        for each in spoilt[turn % max(1, len(spoilt)) :][:1]:
            if is_taken(known, each, shop):
                taken.append(f"{known}: {each!r}")
    assert not taken


def is_taken(known: Known, value: object, environment: Environment) -> bool:
    newest = models.QuerySet(known.model).order_by("-pk").values("pk")[:1]
    rows = models.QuerySet(known.model).filter(pk__in=newest)
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
