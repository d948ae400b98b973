"""The page that imports servers: shown first, and written as it was shown."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from deploy_manager.models import Environment, Placement, Project, Server
from tests.parts.admin import ObjectRights, make_user, url, visitor

pytestmark = pytest.mark.django_db

TEXT = "name,address,user,roles\nweb,10.0.0.1,ann,app\nbad name,10.0.0.2,ann,\n"


@pytest.fixture
def shop() -> Environment:
    project = Project.objects.create(name="shop", repository="/srv/shop.git")
    return Environment.objects.create(project=project, name="production", deploy_path="/srv/shop")


def look(client: Client, **sent: Any) -> Any:
    return client.post(url("server_import"), {"text": TEXT, **sent})


def confirm(client: Client, answer: Any) -> Any:
    return client.post(url("server_import"), {"seen": answer.context["seen"]})


def test_what_was_shown_is_written_and_noted(shop: Environment) -> None:
    owner = visitor("owner")
    Server.objects.create(name="old", address="10.0.0.9", user="ann")
    answer = look(owner, environment=shop.pk)
    page = answer.content.decode()
    for part in (
        "1 new",
        "1 refused",
        "bad name",
        "ann@10.0.0.1:22",
        "1: app",
        "old",
        "Write this",
    ):
        assert part in page
    assert Server.objects.count() == 1
    assert confirm(owner, answer)["Location"] == url("server_changelist")
    assert Placement.objects.get().server == Server.objects.get(name="web")
    assert {str(entry.get_edited_object()) for entry in LogEntry.objects.all()} == {
        "web",
        "shop/production",
    }
    again = look(owner, environment=shop.pk).content.decode()
    assert "1 unchanged" in again
    assert "Write this" not in again


def test_a_file_may_be_uploaded() -> None:
    file = SimpleUploadedFile("x.csv", TEXT.encode("utf-16"))
    assert "1 new" in look(visitor("owner"), text="", upload=file).content.decode()


def test_what_changed_meanwhile_is_shown_again() -> None:
    owner = visitor("owner")
    answer = look(owner)
    Server.objects.create(name="web", address="10.0.0.9", user="ann")
    again = confirm(owner, answer)
    assert "look at the preview again" in again.content.decode()
    assert "10.0.0.9" in again.content.decode()
    assert Server.objects.get().address == "10.0.0.9"
    assert confirm(owner, again).status_code == 302
    assert Server.objects.get().address == "10.0.0.1"


def test_names_of_a_file_are_no_html() -> None:
    text = "name,address,user\n<script>alert(1)</script>,10.0.0.1,ann\n\x1b[2J,10.0.0.1,ann\n"
    page = look(visitor("owner"), text=text).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({"text": " "}, "Paste an inventory"),
        ({"text": "{", "format": "chef"}, "not JSON"),
        ({"format": "nothing"}, "Select a valid choice"),
        ({"roles": "web"}, "is not like dbservers=database"),
        ({"environment": "999"}, "Select a valid choice"),
        ({"text": "", "upload": SimpleUploadedFile("x", b"\0\xff")}, "not text in UTF-8"),
    ],
)
def test_what_can_not_be_read_is_explained(sent: dict[str, Any], reason: str) -> None:
    answer = look(visitor("owner"), **sent)
    assert reason in answer.content.decode()
    assert not Server.objects.exists()


def test_a_forged_or_another_persons_confirmation_writes_nothing() -> None:
    seen = look(visitor("owner")).context["seen"]
    other = Client()
    other.force_login(make_user("other", superuser=True))
    for wrong in ("", "x", seen, seen[:-2] + "zz"):
        assert other.post(url("server_import"), {"seen": wrong}).status_code == 302
    assert not Server.objects.exists()


def test_only_who_may_add_and_change_servers_may_import(shop: Environment) -> None:
    assert visitor("viewer").get(url("server_import")).status_code == 403
    client = Client()
    client.force_login(make_user("adder", "add_server", "view_server"))
    assert look(client).status_code == 403


def test_servers_are_placed_only_where_a_user_may_change_the_environment(
    shop: Environment, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "django.contrib.auth.backends.ModelBackend",
        "tests.parts.admin.ObjectRights",
    ]
    monkeypatch.setattr(ObjectRights, "granted", set())
    other = Environment.objects.create(project=shop.project, name="staging", deploy_path="/srv/s")
    user = make_user("ann", "add_server", "change_server", "view_server")
    client = Client()
    client.force_login(user, "django.contrib.auth.backends.ModelBackend")
    assert "Select a valid choice" in look(client, environment=shop.pk).content.decode()
    ObjectRights.grant(user, "change_environment", shop)
    assert "Select a valid choice" in look(client, environment=other.pk).content.decode()
    answer = look(client, environment=shop.pk)
    ObjectRights.granted.clear()
    assert confirm(client, answer).status_code == 403, "the right was taken away meanwhile"
    assert not Server.objects.exists()


def test_the_list_leads_there() -> None:
    assert url("server_import") in visitor("owner").get(url("server_changelist")).content.decode()
