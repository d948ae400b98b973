"""`manage.py check` says what is missing, and how to mend it."""

import pwd
import runpy
import socket
import time
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django import Settings

from deploy_manager.checks import TAG
from deploy_manager.hosts.address import Address
from deploy_manager.models import Server
from deploy_manager.recipes import (
    Host,
    Phase,
    Pipeline,
    Site,
    add_pipeline,
    load_recipes,
    preflight,
    recipe,
    registry,
)
from deploy_manager.requirements.completing import complete_pins
from tests.celery_app import app
from tests.parts.hosts import OpenAddress
from tests.parts.index import Index
from tests.parts.processes import free_port
from tests.parts.worker import UseBroker

pytestmark = pytest.mark.django_db


RUN_TOOL = Path(preflight.__file__).parent / "remote/run_tool.py"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be an account without an entry in the system's list, as in some containers."""

    def unknown(name: object) -> None:
        raise KeyError(name)

    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "UV_CACHE_DIR", "UV_CONFIG_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def found() -> dict[str, CheckMessage]:
    return {str(message.id).rpartition(".")[2]: message for message in run_checks(tags=[TAG])}


def add_ssh_server() -> None:
    Server.objects.create(name="web", address="192.0.2.1", user="deploy")


def test_nothing_is_missing_in_these_settings() -> None:
    assert found() == {}


def test_a_setting_that_we_do_not_know_is_named(settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {"SSH_KEY": "key"}
    assert (
        "no setting SSH_KEY. Known settings: ADVISORIES, ADVISORY_TIMEOUT, API_RATE,"
        in found()["E001"].msg
    )


@pytest.mark.parametrize(
    "value", [{}, {"CACHE": "/srv", "SSH_KEY_FILE": "~/k"}, {"CACHE": "/srv", "ADVISORIES": ["~"]}]
)
@pytest.mark.usefixtures("homeless")
def test_a_home_that_the_account_lacks_is_named(settings: Settings, value: object) -> None:
    settings.DEPLOY_MANAGER = value
    assert "this account has none. Enter an absolute path" in found()["E001"].msg


@pytest.mark.usefixtures("homeless")
def test_an_account_without_a_home_needs_none(
    settings: Settings, open_address: OpenAddress, package_index: Index
) -> None:
    settings.DEPLOY_MANAGER = {"CACHE": "/srv/cache"}
    assert "E001" not in found()
    host = open_address(Address("here", local=True)).host
    assert host.run("pwd").stdout == "/\n"
    package_index.add("kit", "1.0")
    (pin,) = complete_pins("kit", index_url=package_index.url)
    assert pin.version == "1.0"
    assert runpy.run_path(str(RUN_TOOL))["files_of_uv"]() == []


@pytest.mark.parametrize("value", ["soon", 0, None])
def test_a_number_that_is_none_is_named(settings: Settings, value: object) -> None:
    settings.DEPLOY_MANAGER = {"STEP_TIMEOUT": value}
    assert "STEP_TIMEOUT" in found()["E001"].msg


@pytest.mark.parametrize(
    "value",
    [
        [],
        "https://osv.test",
        ["https://osv.test", "ftp://me:s3cret@osv.test"],
        ["https://osv.test", "https://me:s3cret@osv.test?key=s3cret"],
        ["https://osv.test", "https://me:s3cret@osv.test:port"],
        ["https://osv.test", ""],
        ["https://osv.test", 5],
    ],
)
def test_sources_of_advisories_that_are_none_are_named_without_a_password(
    settings: Settings, value: object
) -> None:
    settings.DEPLOY_MANAGER = {"ADVISORIES": value}
    message = found()["E001"].msg
    assert "'ADVISORIES']" in message
    assert "[1]" in message or len(value) != 2  # type: ignore[arg-type]
    assert "s3cret" not in message


def test_git_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install git" in str(found()["E002"].hint)


def test_somebody_has_to_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.conf.beat_schedule["deploy_manager"], "task", "another")
    assert "manage.py reconcile --forever" in str(found()["W007"].hint)


def test_a_broker_that_is_not_there_is_reported(use_broker: UseBroker) -> None:
    use_broker(f"redis://:secret@127.0.0.1:{free_port()}/0")
    message = found()["W002"].msg
    assert "can't be reached" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("broker_url", "told"),
    [
        ("foo://:secret@broker", "No such transport: foo"),
        ("redis://:secret/@broker/0", "its URL can't be read"),
    ],
)
def test_a_broker_that_is_set_wrong_is_reported(
    use_broker: UseBroker, broker_url: str, told: str
) -> None:
    use_broker(broker_url)
    message = found()["W002"].msg
    assert told in message
    assert "secret" not in message


def test_a_broker_that_says_nothing_is_reported_within_a_second(use_broker: UseBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_broker(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started = time.monotonic()
        assert "Timeout" in found()["W002"].msg
    assert time.monotonic() - started < 2


def test_a_broker_that_answers_is_well(use_broker: UseBroker, redis_url: str) -> None:
    use_broker(redis_url)
    assert found() == {}


def test_a_project_without_a_broker_is_reported_how_to_name_one(use_broker: UseBroker) -> None:
    use_broker("")
    assert "CELERY_BROKER_URL" in str(found()["W001"].hint)


def test_servers_over_ssh_need_a_key() -> None:
    add_ssh_server()
    assert "SSH_KEY_FILE" in str(found()["W004"].hint)


def test_the_keys_of_an_agent_will_do(settings: Settings) -> None:
    add_ssh_server()
    settings.DEPLOY_MANAGER = {"SSH_AGENT": True}
    assert "W004" not in found()


def test_servers_without_a_pinned_host_key_are_named(settings: Settings) -> None:
    settings.DEPLOY_MANAGER = {"SSH_AGENT": True, "LOCAL_SERVERS": True}
    Server.objects.create(name="here", connection=Server.Connection.LOCAL)
    add_ssh_server()
    warning = found()["W011"]
    assert warning.msg == "Without a pinned host key nothing is sent to web."
    assert "Fetch host key" in str(warning.hint)
    Server.objects.filter(name="web").update(host_key="ssh-ed25519 AAAA")
    assert found() == {}


def test_a_key_that_is_not_there_is_reported(settings: Settings, tmp_path: Path) -> None:
    settings.DEPLOY_MANAGER = {"SSH_KEY_FILE": tmp_path / "key"}
    assert "ssh-keygen" in str(found()["W005"].hint)


def test_a_key_that_others_may_read_is_reported(settings: Settings, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o644)
    settings.DEPLOY_MANAGER = {"SSH_KEY_FILE": key}
    assert f"chmod 600 {key}" in str(found()["W006"].hint)


def test_recipes_that_cannot_be_imported_are_named_and_stop_nothing_else(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "broken_shop"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "recipes.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_broken", {})
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "broken_shop"]
    load_recipes()
    message = found()["E003"].msg
    assert message.startswith("broken_shop.recipes can't be imported: ModuleNotFoundError")
    assert registry.get_pipeline("deploy")


def test_a_pipeline_or_recipe_that_names_what_does_not_exist_is_named(own_recipes: None) -> None:
    @recipe("Dim", option="dimmed")
    def dim(host: Host, site: Site) -> None: ...

    add_pipeline(Pipeline("lights", "Lights", (Phase("run", "Run", ("dim", "dimm")),)))
    add_pipeline(Pipeline("again", "Again", (Phase("run", "Run", ("dim", "greet")),)))
    assert "The pipeline lights can't run: There is no recipe 'dimm'." in found()["E004"].msg
    assert found()["E005"].msg.startswith("The recipe dim names the option 'dimmed'")


def test_sqlite_has_to_be_told_that_many_write(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = settings.DATABASES["default"]
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setitem(database, "OPTIONS", {})
    assert "IMMEDIATE" in str(found()["W003"].hint)
