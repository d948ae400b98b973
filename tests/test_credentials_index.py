"""A private package index: its password is on no command line, in no variable, on no disk."""

from pathlib import Path
from secrets import token_hex

import pytest
import requests
from pytest_django import Settings

from deploy_manager.credentials import index_at, index_of
from deploy_manager.exceptions import (
    IndexUnreachable,
    InvalidRow,
    PinError,
    RecipeError,
    WheelError,
)
from deploy_manager.logins import login_of_index
from deploy_manager.models import Credential, Environment
from deploy_manager.requirements.completing import complete_pins
from deploy_manager.requirements.exporting import export_pylock
from deploy_manager.requirements.index_facts import look_up, open_index
from deploy_manager.requirements.pins import Pin, lock_digest, lock_text
from deploy_manager.sealing import Secret
from deploy_manager.wheels.cache import Cache
from deploy_manager.wheels.fetching import fetch
from deploy_manager.wheels.python import own_python
from tests.inventory import Inventory
from tests.parts.index import Index
from tests.parts.leaks import Leaks
from tests.parts.secret_keys import as_web_server
from tests.wheel_site import MakeServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("secrets_key")]

PASSWORD = f"pypi-{token_hex(4)}+Zm9v/Yg&x%41"
"""Of this run alone: copies of this file lie in the folders that are searched."""


@pytest.fixture
def private_index(package_index: Index) -> Index:
    package_index.user, package_index.password = "robot", PASSWORD
    package_index.add("shopkit", "1.0", requires=("colours>=1",))
    package_index.add("colours", "2.0")
    return package_index


@pytest.fixture
def site(inventory: Inventory, private_index: Index) -> Environment:
    """An environment that takes its packages from the private index."""
    row = Credential(name="index", kind="index", host="127.0.0.1", user="robot")
    row.put(Secret(PASSWORD))
    row.save()
    inventory.environment.index_url = private_index.url
    inventory.environment.save()
    return inventory.environment


def test_the_worker_asks_resolves_and_exports(
    site: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    index = index_of(site)
    leaks = Leaks.of(PASSWORD, folders=[tmp_path, Path("/dev/shm")])
    with leaks.watched():
        assert look_up("shopkit", index).versions[-1].version == "1.0"
        pins = complete_pins("shopkit\n", index_url=index)
        assert {pin.name for pin in pins} == {"shopkit", "colours"}
        exported = export_pylock(pins, index)
    assert "shopkit" in exported
    assert PASSWORD not in exported
    assert leaks.samples
    assert not leaks.found


def test_without_its_credential_it_is_refused(site: Environment, settings: Settings) -> None:
    with pytest.raises(IndexUnreachable):
        look_up("shopkit", site.index_url)
    assert look_up("shopkit", index_at(site.index_url)).versions


def test_an_index_that_repeats_the_password_is_quoted_without_it(
    site: Environment, private_index: Index, tmp_path: Path
) -> None:
    private_index.refusal = f"the password {PASSWORD} has expired"
    with pytest.raises(IndexUnreachable, match="has expired") as told:
        look_up("shopkit", index_of(site))
    assert PASSWORD not in str(told.value)
    with pytest.raises(PinError) as resolved:
        complete_pins("shopkit\n", index_url=index_of(site))
    assert PASSWORD not in str(resolved.value)
    with open_index(index_of(site)) as client, pytest.raises(WheelError) as fetched:
        fetch(client, Pin("shopkit", "1.0"), own_python(), Cache(tmp_path / "wheels"), "key")
    assert PASSWORD not in str(fetched.value)


def test_another_host_gets_no_password(site: Environment) -> None:
    with open_index(index_of(site)) as client:
        assert client.s.auth is not None
        other = client.s.prepare_request(_get("http://localhost:9/files/x.whl"))
        same = client.s.prepare_request(_get("http://127.0.0.1:9/files/x.whl"))
    assert "Authorization" not in other.headers
    assert "Authorization" in same.headers
    site.index_url = "https://index.example.org/simple/"
    assert type(index_of(site)) is str


def _get(url: str) -> requests.Request:
    return requests.Request("GET", url)


def test_a_web_server_says_that_it_can_not_ask(
    site: Environment, settings: Settings, secrets_key: Path
) -> None:
    as_web_server(settings, secrets_key)
    with pytest.raises(IndexUnreachable, match=r"credential index can't be opened here"):
        look_up("shopkit", index_of(site))
    with pytest.raises(PinError, match=r"credential index can't be opened here"):
        complete_pins("shopkit\n", index_url=index_of(site))


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_a_server_installs_from_it_and_keeps_nothing(
    site: Environment, private_index: Index, make_server: MakeServer, installer: str
) -> None:
    index = index_of(site)
    text = lock_text(complete_pins("shopkit\n", index_url=index))
    server = make_server(private_index)
    folders = [Path(server.site.deploy_path), Path("/dev/shm")]
    leaks = Leaks.of(PASSWORD, folders=folders)
    with leaks.watched():
        printed = server.install(
            lock=text,
            lock_digest=lock_digest(text),
            index_url=index,
            wheels="index",
            installer=installer,
        )
    assert server.says("import shopkit; print('there')") == "there"
    assert PASSWORD not in printed
    assert leaks.samples
    assert not leaks.found


def test_a_server_is_told_nothing_by_a_worker_without_the_key(
    site: Environment,
    private_index: Index,
    make_server: MakeServer,
    settings: Settings,
    secrets_key: Path,
) -> None:
    index = index_of(site)
    text = lock_text(complete_pins("shopkit\n", index_url=index))
    as_web_server(settings, secrets_key)
    with pytest.raises(RecipeError, match=r"credential index can't be opened here"):
        make_server(private_index).install(
            lock=text, lock_digest=lock_digest(text), index_url=index, wheels="index"
        )


def test_a_password_is_sent_unencrypted_to_hosts_that_the_settings_name_only(
    site: Environment, settings: Settings
) -> None:
    Credential.objects.update(host="pypi.example.org")
    site.index_url = "http://pypi.example.org:9999/simple/"
    with pytest.raises(InvalidRow, match="is not encrypted"):
        index_of(site)
    named = {"INSECURE_REPOSITORIES": ["PyPI.example.org"]}
    settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, **named}
    assert login_of_index(index_of(site))
