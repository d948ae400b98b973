"""Importing pins through the admin: shown first, then written."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from deploy_manager.models import Requirement
from tests.inventory import Inventory
from tests.parts.admin import url, visitor

PINS = "django==5.2.3\nsqlparse==0.5.1\n"


@pytest.fixture
def address(inventory: Inventory) -> str:
    Requirement.objects.create(environment=inventory.environment, name="django", version="5.2.1")
    return url("environment_requirements", inventory.environment.pk)


def versions() -> dict[str, str]:
    return dict(Requirement.objects.values_list("name", "version"))


def test_changes_are_shown_before_anything_is_written(address: str) -> None:
    page = visitor("owner").post(address, {"text": PINS, "_preview": "1"}).content.decode()
    for piece in ("5.2.1", "5.2.3", "sqlparse", "added", "changed", 'name="_save"'):
        assert piece in page
    assert versions() == {"django": "5.2.1"}


def test_saving_writes_the_pins(address: str) -> None:
    answer = visitor("owner").post(address, {"text": PINS, "_save": "1"}, follow=True)
    assert versions() == {"django": "5.2.3", "sqlparse": "0.5.1"}
    assert "2 requirements written." in answer.content.decode()


def test_a_file_is_read_and_carried_on_as_text(address: str) -> None:
    owner = visitor("owner")
    upload = SimpleUploadedFile("requirements.txt", PINS.encode())
    answer = owner.post(address, {"upload": upload, "_preview": "1"})
    assert answer.context["form"].initial["text"] == PINS
    assert versions() == {"django": "5.2.1"}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"text": ""}, "Paste requirements"),
        ({"text": "django>=5"}, "django"),
        ({"text": "-r /etc/shadow"}, "/etc/shadow"),
        ({"text": "<script>alert(1)</script>"}, "Nothing was written"),
        ({"upload": SimpleUploadedFile("r.txt", b"\xff\xfe")}, "not text"),
        ({"upload": SimpleUploadedFile("r.txt", b"#" * (1024 * 1024 + 1))}, "larger than"),
    ],
)
@pytest.mark.parametrize("button", ["_preview", "_save"])
def test_what_is_no_set_of_pins_is_told_and_nothing_written(
    address: str, sent: dict[str, object], told: str, button: str
) -> None:
    for value in sent.values():
        if isinstance(value, SimpleUploadedFile):
            value.seek(0)
    page = visitor("owner").post(address, {**sent, button: "1"}).content.decode()
    assert told in page
    assert "<script>alert" not in page
    assert versions() == {"django": "5.2.1"}


def test_who_may_deploy_but_not_change_writes_nothing(address: str) -> None:
    assert visitor("deployer").post(address, {"text": PINS, "_save": "1"}).status_code == 403
    assert versions() == {"django": "5.2.1"}


def test_the_import_stands_in_the_environments_history(address: str, inventory: Inventory) -> None:
    owner = visitor("owner")
    owner.post(address, {"text": PINS, "_save": "1"})
    page = owner.get(url("environment_history", inventory.environment.pk)).content.decode()
    assert "Requirements imported." in page


def test_the_buttons_stand_above_an_environment_for_who_may_press_them(
    inventory: Inventory,
) -> None:
    page = url("environment_change", inventory.environment.pk)
    deploys = url("environment_run", "deploy", on=inventory.environment.pk)
    imports = url("environment_requirements", inventory.environment.pk)
    pages = {kind: visitor(kind).get(page) for kind in ("owner", "deployer", "viewer")}
    seen = {
        kind: [link in answer.content.decode() for link in (deploys, imports)]
        for kind, answer in pages.items()
    }
    assert seen == {"owner": [True, True], "deployer": [True, False], "viewer": [False, False]}
