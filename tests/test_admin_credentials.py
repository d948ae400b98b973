"""Credentials in the admin: what is entered is sealed, and no page shows it again."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import Settings

from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import Credential, Project, Server
from deploy_manager.private_keys import make_private_key, read_private_key
from tests.parts.admin import make_user, url, visitor
from tests.parts.secret_keys import as_web_server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("secrets_key")]

PASSWORD = "hunter2-needle"


def form(**changes: Any) -> dict[str, Any]:
    fields = {
        "name": "forge",
        "kind": "git-token",
        "host": "git.example.org",
        "user": "oauth2",
        "source": "here",
        "new_secret": PASSWORD,
        "new_passphrase": "",
        "reference": "",
        "command": "",
        "public_key": "",
        "certificate": "",
        "known_hosts": "",
        "server": "",
        "environment": "",
        "project": "",
    }
    return {**fields, **changes}


def add(client: Client, **changes: Any) -> str:
    """Send the form; return the page that it leads to."""
    answer = client.post(url("credential_add"), form(**changes), follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_secret_is_sealed_by_a_web_server_that_can_not_open_it(
    settings: Settings, secrets_key: Path
) -> None:
    client = visitor("owner")
    as_web_server(settings, secrets_key)
    assert PASSWORD not in add(client)
    row = Credential.objects.get()
    assert row.sealed
    with pytest.raises(ConfigurationError):
        row.sealed.open()
    for page in (url("credential_change", row.pk), url("credential_changelist")):
        text = client.get(page).content.decode()
        assert row.sealed.fingerprint in text
        assert PASSWORD not in text
        assert row.sealed.box not in text
    assert not any(PASSWORD in entry.change_message for entry in LogEntry.objects.all())
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, "SECRETS_KEY_FILE": secrets_key}
    assert row.sealed.open().value == PASSWORD


def test_a_form_that_is_refused_comes_back_without_the_secret() -> None:
    page = add(visitor("owner"), host="", new_passphrase="phrase-needle")
    assert "Enter the host that it is sent to" in page
    assert PASSWORD not in page
    assert "phrase-needle" not in page
    assert not Credential.objects.exists()


def test_a_blank_secret_stays_as_it_is() -> None:
    client = visitor("owner")
    add(client)
    row = Credential.objects.get()
    fields = form(new_secret="", user="other")
    client.post(url("credential_change", row.pk), fields)
    changed = Credential.objects.get()
    assert (changed.user, changed.sealed) == ("other", row.sealed)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "elsewhere.example.org"},
        {"kind": "index"},
        {"kind": "sudo", "host": ""},
    ],
    ids=["host", "kind", "to servers"],
)
def test_a_secret_goes_to_no_other_place_than_it_was_entered_for(changes: dict[str, str]) -> None:
    client = visitor("owner")
    add(client)
    address = url("credential_change", Credential.objects.get().pk)
    answer = client.post(address, form(new_secret="", **changes))
    assert "Enter the secret again" in answer.content.decode()
    row = Credential.objects.get()
    assert (row.kind, row.host) == ("git-token", "git.example.org")
    assert client.post(address, form(**changes)).status_code == 302
    assert client.post(address, form(new_secret="", user="other", **changes)).status_code == 302


def test_a_key_is_generated_and_its_public_part_shown() -> None:
    page = add(visitor("owner"), kind="login", host="", new_secret="", _generate="Generate key")
    row = Credential.objects.get()
    assert row.sealed
    key = read_private_key(row.sealed.open())
    assert f"restrict {key.public_line} deploy_manager/forge" in page
    assert key.public_line == row.public_key
    assert "PRIVATE KEY" not in page


def test_a_pasted_key_is_read_with_its_passphrase(tmp_path: Path) -> None:
    client, key = visitor("owner"), make_private_key()
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text(key.plain.value)
    words = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "phrase", "-f", str(file)]
    subprocess.run(words, check=True, capture_output=True)
    fields = {"kind": "login", "host": "", "new_secret": file.read_text()}
    assert "needs a passphrase" in add(client, **fields)
    assert "is not that of the private key" in add(client, **fields, new_passphrase="wrong")
    assert "not a private key" in add(client, **{**fields, "new_secret": "hello"})
    add(client, **fields, new_passphrase="phrase")
    assert Credential.objects.get().public_key == key.public_line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "login", "source": "agent", "host": ""}, ""),
        ({"source": "agent"}, "An agent has keys for servers only"),
        ({"source": "file", "reference": "key"}, "absolute path"),
        ({"source": "command", "reference": "-x", "command": "op"}, "do not begin with -"),
        ({"new_secret": "two\nlines"}, "one line"),
        ({"kind": "index", "new_secret": "with space"}, "spaces, quotes"),
        ({"new_secret": ""}, "Enter the secret"),
        ({"user": ""}, "Enter the user"),
        ({"_generate": "1"}, "Only SSH keys are generated"),
        ({"known_hosts": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "This is a private key"),
        ({"kind": "login", "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA"}, "not a"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_to_do(
    changes: dict[str, Any], told: str
) -> None:
    page = add(visitor("owner"), **changes)
    assert told in page.replace("&#x27;", "'")
    assert Credential.objects.exists() == (not told)


def test_two_credentials_for_one_place_are_refused() -> None:
    client = visitor("owner")
    add(client)
    assert "which of them counts would be unknown" in add(client, name="second").replace("\n", " ")
    project = Project.objects.create(name="shop", repository="/srv/shop.git")
    add(client, name="second", project=project.pk)
    assert Credential.objects.count() == 2
    server = Server.objects.create(name="web1", address="10.0.0.1", user="deploy")
    assert "A repository is a project" in add(client, name="third", server=server.pk)


def test_without_a_key_to_seal_with_nothing_is_stored(settings: Settings) -> None:
    client = visitor("owner")
    settings.DEPLOY_MANAGER = {
        name: value for name, value in settings.DEPLOY_MANAGER.items() if "SECRETS" not in name
    }
    assert "No key for secrets is configured" in add(client)


def test_who_may_not_use_credentials_attaches_none() -> None:
    client = Client()
    rights = ("add_credential", "change_credential", "view_credential", "view_project")
    client.force_login(make_user("editor", *rights))
    assert "may not attach credentials" in add(client)
    add(visitor("owner"))
    row = Credential.objects.get()
    project = Project.objects.create(name="shop", repository="/srv/shop.git")
    page = url("credential_change", row.pk)
    assert b"may not attach" in client.post(page, form(project=project.pk)).content
    # The value itself may be replaced.
    assert client.post(page, form(new_secret="another")).status_code == 302
    user = make_user("user", *rights, "use_credential")
    client.force_login(user)
    assert client.post(page, form(project=project.pk)).status_code == 302


def test_who_may_only_view_sees_what_is_no_secret() -> None:
    add(visitor("owner"))
    row = Credential.objects.get()
    client = Client()
    client.force_login(make_user("viewer", "view_credential"))
    page = client.get(url("credential_change", row.pk)).content.decode()
    assert row.sealed
    assert row.sealed.fingerprint in page
    assert not re.search(r"new_secret|_generate|<textarea", page)
    assert client.post(url("credential_change", row.pk), form()).status_code == 403
    assert visitor("stranger").get(url("credential_change", row.pk)).status_code in (302, 403)


def test_a_repository_with_a_password_is_masked_in_the_list() -> None:
    Project.objects.create(name="shop", repository=f"https://u:{PASSWORD}@git.example.org/s.git")
    assert PASSWORD not in visitor("owner").get(url("project_changelist")).content.decode()
