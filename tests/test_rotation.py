"""Rotation of the key for secrets, killed at random moments while values are read and changed."""

import io
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django import Settings

from deploy_manager.models import Credential
from deploy_manager.rotation import keys_in_use, rotate, secret_fields
from deploy_manager.sealing import Sealed, Secret, add_key, id_of, private_keys, public_text
from tests.parts.worker import environment_of_a_worker


def make(count: int) -> dict[int, str]:
    """Make credentials; return their values by the keys of their rows."""
    rows = [
        Credential(name=f"c{number}", kind="index", host=f"h{number}.example.org", user="u")
        for number in range(count)
    ]
    for number, row in enumerate(rows):
        row.put(Secret(f"value {number}"), Secret(f"phrase {number}"))
    Credential.objects.bulk_create(rows)
    return {row.pk: f"value {number}" for number, row in enumerate(rows)}


def opened() -> dict[int, str]:
    return {row.pk: value_of(row) for row in Credential.objects.all()}


def value_of(row: Credential) -> str:
    assert isinstance(row.secret, Sealed)
    return row.secret.open().value


@pytest.mark.django_db
def test_every_column_of_secrets_is_found() -> None:
    found = {(model.__name__, column.name) for model, column in secret_fields()}
    assert {("Credential", "secret"), ("Credential", "passphrase")} <= found


@pytest.mark.django_db
def test_a_value_that_was_entered_meanwhile_stays(
    secrets_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pk,) = make(1)
    add_key(secrets_key)
    seal_anew = Sealed.sealed_anew

    def while_somebody_changes_it(value: Sealed) -> Sealed:
        Credential.objects.filter(pk=pk).update(secret=Secret("another"))
        monkeypatch.setattr(Sealed, "sealed_anew", seal_anew)
        return seal_anew(value)

    monkeypatch.setattr(Sealed, "sealed_anew", while_somebody_changes_it)
    assert rotate().changed == 1
    assert opened() == {pk: "another"}
    assert [(use.secrets, use.is_current) for use in keys_in_use()] == [(2, True), (0, False)]


@pytest.mark.django_db
def test_what_can_not_be_opened_is_named_and_stops_no_other(secrets_key: Path) -> None:
    first, second = make(2)
    whole = Credential.objects.get(pk=first).sealed
    assert whole
    damaged = Sealed(whole.key_id, whole.fingerprint, whole.box[::-1])
    Credential.objects.filter(pk=first).update(secret=damaged)
    add_key(secrets_key)
    err, out = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match="1 secrets are not sealed") as failed:
        call_command("rotate_secrets", stdout=out, stderr=err)
    assert failed.value.returncode == 1
    assert "c0 (secret): A secret" in err.getvalue()
    assert "3 secrets sealed anew" in out.getvalue()
    assert value_of(Credential.objects.get(pk=second)) == "value 1"


@pytest.mark.django_db
def test_a_public_key_that_is_not_the_first_of_the_file_is_reported(
    secrets_key: Path, settings: Settings
) -> None:
    old = public_text(private_keys()[0].public_key)
    add_key(secrets_key)
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRETS_PUBLIC_KEY": old}
    with pytest.raises(CommandError, match="set SECRETS_PUBLIC_KEY to"):
        call_command("rotate_secrets")


@pytest.mark.django_db
def test_the_key_is_made_and_checked_and_an_old_one_dropped(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "keys"
    out = io.StringIO()
    call_command("secrets_key", str(path), stdout=out)
    assert f'"SECRETS_KEY_FILE": "{path}"' in out.getvalue()
    assert '"SECRETS_PUBLIC_KEY": "' in out.getvalue()
    assert path.stat().st_mode & 0o777 == 0o600
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRETS_KEY_FILE": path}
    values = make(3)
    old = id_of(private_keys()[0].public_key)
    call_command("secrets_key", stdout=io.StringIO())
    with pytest.raises(CommandError, match="6 secrets are not sealed"):
        call_command("rotate_secrets", "--check", stdout=io.StringIO())
    call_command("rotate_secrets", stdout=io.StringIO())
    out = io.StringIO()
    call_command("rotate_secrets", "--check", stdout=out)
    assert f"key {old}: 0 secrets, not needed" in out.getvalue()
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert opened() == values


@pytest.mark.parametrize(
    ("many", "kills"), [(100, 2), pytest.param(1000, 20, marks=pytest.mark.long)]
)
@pytest.mark.django_db(transaction=True)
def test_a_rotation_that_is_killed_again_and_again_loses_nothing(
    secrets_key: Path, settings: Settings, many: int, kills: int
) -> None:
    values = make(many)
    add_key(secrets_key)
    over = threading.Event()
    wrong: list[str] = []

    def change_and_read() -> None:
        chance = random.Random(7)
        number = 0
        while not over.is_set():
            pk = chance.choice(list(values))
            number += 1
            new = f"changed {number}"
            Credential.objects.filter(pk=pk).update(secret=Secret(new))
            values[pk] = new
            other = Credential.objects.get(pk=chance.choice(list(values)))
            if value_of(other) != values[other.pk]:
                wrong.append(other.name)
            time.sleep(0.005)
        connections.close_all()

    thread = threading.Thread(target=change_and_read)
    thread.start()
    environment = {**os.environ, **environment_of_a_worker(settings)}
    command = [sys.executable, "-m", "django", "rotate_secrets", "--settings", "tests.settings"]
    chance = random.Random(11)
    killed = 0
    try:
        while killed < kills:
            before = left()
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while left() == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.3))
            killed += process.poll() is None
            process.kill()
            process.wait()
            if not left():
                add_key(secrets_key)  # all is done already: begin again
    finally:
        over.set()
        thread.join()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not wrong
    assert opened() == values
    assert not left()


def left() -> int:
    current = id_of(private_keys()[0].public_key)
    return sum(use.secrets for use in keys_in_use() if use.key_id != current)
