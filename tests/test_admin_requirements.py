"""Importing pins through the admin: shown first, then written."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from deploy_manager.models import Environment, Project, Requirement
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.parts.index import Index
from tests.parts.repository import Repository
from tests.resolutions import post_and_wait

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


def test_bad_lines_are_shown_and_the_rest_is_taken_only_if_told(address: str) -> None:
    owner = visitor("owner")
    sent = {"text": f"{PINS}-e git+https://me:s3cret@host.test/a.git#egg=a\n"}
    page = owner.post(address, {**sent, "_save": "1"}).content.decode()
    assert "requirements.txt, line 3: -e git+https://[masked]@host.test/a.git#egg=a" in page
    assert 'name="skip_bad"' in page
    assert versions() == {"django": "5.2.1"}
    page = owner.post(address, {**sent, "skip_bad": "on", "_preview": "1"}).content.decode()
    assert "Lines that are left out" in page
    assert 'name="_save"' in page
    owner.post(address, {**sent, "skip_bad": "on", "_save": "1"})
    assert versions() == {"django": "5.2.3", "sqlparse": "0.5.1"}


def test_a_file_in_latin_1_is_read_as_it_says(address: str) -> None:
    content = "# -*- coding: latin-1 -*-\n# caf\xe9\ndjango==5.2.3\n".encode("latin-1")
    upload = SimpleUploadedFile("requirements.txt", content)
    owner = visitor("owner")
    answer = owner.post(address, {"upload": upload, "_preview": "1"})
    carried = answer.context["form"].initial
    owner.post(address, {**carried, "_save": "1"})
    assert versions() == {"django": "5.2.3"}


def test_uv_finds_the_versions_and_exactly_what_was_shown_is_written(
    address: str, inventory: Inventory, package_index: Index
) -> None:
    package_index.add("shopkit", "1.0", requires=("shopcore",))
    package_index.add("shopcore", "2.0")
    Environment.objects.update(index_url=package_index.url)
    owner = visitor("owner")
    sent = {"text": "shopkit>=1\n", "lock": "on", "_preview": "1"}
    answer = post_and_wait(owner, address, sent)
    package_index.add("shopcore", "3.0")
    owner.post(address, {**answer.context["form"].initial, "_save": "1"})
    assert versions() == {"shopkit": "1.0", "shopcore": "2.0"}


def test_the_repository_s_files_are_read_with_what_they_include(
    address: str, inventory: Inventory, repository: Repository
) -> None:
    files = {"requirements.txt": "-r deep/base.txt\n-c deep/c.txt\nsqlparse\n"}
    files |= {"deep/base.txt": "django==5.2.3\n", "deep/c.txt": "sqlparse==0.5.1\n"}
    commit = repository.commit("Pins", files)
    Project.objects.update(repository=str(repository.path))
    owner = visitor("owner")
    answer = owner.post(address, {"_repository": "1"})
    repository.commit("Later", {"deep/base.txt": "django==6.0\n"})
    assert answer.context["form"].initial["commit"] == commit
    assert f"requirements.txt of commit {commit[:8]}." in answer.content.decode()
    owner.post(address, {**answer.context["form"].initial, "_save": "1"})
    assert versions() == {"django": "5.2.3", "sqlparse": "0.5.1"}


def test_what_is_pinned_is_downloaded_by_those_who_may_see_it(address: str) -> None:
    viewer = visitor("viewer")
    answer = viewer.get(address, {"export": "requirements"})
    assert "attachment" in answer["Content-Disposition"]
    assert b"\ndjango==5.2.1\n" in answer.content
    refused = viewer.get(address, {"export": "pylock"})
    assert refused.status_code == 409
    assert b"a pylock.toml needs hashes" in refused.content
    assert visitor("stranger").get(address, {"export": "requirements"}).status_code == 404


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"text": ""}, "Paste requirements"),
        ({"text": "django>=5"}, "django"),
        ({"text": "-r /etc/shadow"}, "/etc/shadow"),
        ({"text": "<script>alert(1)</script>"}, "Nothing was written"),
        ({"upload": SimpleUploadedFile("r.txt", b"caf\xe9")}, "not text"),
        ({"upload": SimpleUploadedFile("r.txt", b"#" * (1024 * 1024 + 1))}, "larger than"),
    ],
)
@pytest.mark.parametrize("button", ["_preview", "_save"])
def test_what_is_no_set_of_pins_is_reported_and_nothing_written(
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
