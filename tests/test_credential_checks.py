"""`manage.py check` and a deployment say before anything is reached what can't be opened."""

from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager import logins
from deploy_manager.checks import check_credentials
from deploy_manager.deployments.run import run
from deploy_manager.exceptions import SecretUnreadable
from deploy_manager.logins import FromCommand, InFile
from deploy_manager.models import Credential, Server
from deploy_manager.private_keys import make_private_key
from deploy_manager.sealing import Secret, add_key
from tests.inventory import Inventory
from tests.parts.secret_keys import as_web_server

pytestmark = pytest.mark.django_db


def add(name: str, secret: str, **fields: object) -> Credential:
    row = Credential(name=name, **{"kind": "sudo", **fields})
    row.put(Secret(secret))
    row.save()
    return row


def told() -> list[tuple[str, str]]:
    return [(str(found.id)[-4:], str(found.msg)) for found in check_credentials()]


def test_nothing_is_said_where_there_is_nothing(settings: Settings) -> None:
    assert told() == []


def test_what_opens_is_not_mentioned(secrets_key: Path) -> None:
    add("root", "hunter2")
    add("key", make_private_key().plain.value, kind="login")
    assert told() == []


def test_each_credential_that_does_not_open_is_named(secrets_key: Path, tmp_path: Path) -> None:
    add("root", "hunter2")
    add("no-key", "hunter2", kind="login")
    Credential.objects.create(name="gone", kind="bootstrap", source="file", reference="/nowhere")
    # A newer file without the older key.
    secrets_key.unlink()
    add_key(secrets_key)
    found = dict(told())
    assert set(found) == {"W013"}
    texts = " ".join(text for _id, text in told())
    assert "secrets are sealed with an older key" in texts
    assert "root can't be opened here: A secret" in texts
    assert "gone can't be opened here: The file /nowhere" in texts
    assert "hunter2" not in texts


def test_a_key_file_that_others_may_read_or_that_is_missing(secrets_key: Path) -> None:
    add("root", "hunter2")
    secrets_key.chmod(0o640)
    assert told() == [("E006", f"Others may read SECRETS_KEY_FILE: chmod 600 {secrets_key}")]
    secrets_key.unlink()
    assert tuple(sorted({each for each, _text in told()})) == ("E006", "W013")


def test_a_web_server_is_asked_only_whether_it_can_seal(
    secrets_key: Path, settings: Settings
) -> None:
    add("root", "hunter2")
    as_web_server(settings, secrets_key)
    assert told() == []
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRETS_PUBLIC_KEY": ""}
    ((name, text),) = told()
    assert name == "E006"
    assert "No key for secrets is configured" in text


@pytest.mark.django_db(transaction=True)
def test_a_deployment_stops_before_any_server(secrets_key: Path, inventory: Inventory) -> None:
    server = inventory.add_server("web1").server
    Server.objects.filter(pk=server.pk).update(connection="ssh", address="192.0.2.1", user="deploy")
    add("no-key", "hunter2", kind="login")
    deployment = inventory.request()
    run(deployment.pk)
    deployment.refresh_from_db()
    assert deployment.state == "failed"
    assert "The credential no-key can't be used: This is not a private key" in str(
        deployment.message
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "echo hunter2; echo why >&2; exit 3", "{}"], r"exit code 3\. why"),
        (["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3", "{}"], r"exit code 3\. $"),
        (["sh", "-c", "sleep 60", "{}"], "did not end within"),
        (["/nowhere/op", "{}"], "/nowhere/op: No such file"),
        (["true", "{}"], "has no secret"),
    ],
)
def test_a_command_that_gives_no_secret_says_why_and_shows_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, command: list[str], said: str
) -> None:
    monkeypatch.setattr(logins, "COMMAND_SECONDS", 0.5)
    settings.DEPLOY_MANAGER = {"SECRET_COMMANDS": {"op": command}}
    with pytest.raises(SecretUnreadable, match=said) as refused:
        FromCommand("op", "op://vault/item").open()
    assert "hunter2" not in str(refused.value)


def test_the_word_is_one_word_and_no_shell_reads_it(settings: Settings, tmp_path: Path) -> None:
    settings.DEPLOY_MANAGER = {"SECRET_COMMANDS": {"echo": ["echo", "<{}>"]}}
    word = f"$(touch {tmp_path}/x);`id` a b"
    assert FromCommand("echo", word).open() == Secret(f"<{word}>")
    assert not (tmp_path / "x").exists()


def test_a_secret_in_a_file_has_no_newline_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("hunter2\n")
    assert InFile(str(file)).open() == Secret("hunter2")


def test_the_file_of_keys_is_no_credential_by_whatever_name(
    secrets_key: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").symlink_to(secrets_key)
    (tmp_path / "another").hardlink_to(secrets_key)
    for path in (secrets_key, tmp_path / "token", tmp_path / "another"):
        with pytest.raises(SecretUnreadable, match="keys for all secrets"):
            InFile(str(path)).open()
