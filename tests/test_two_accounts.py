"""The web server has no key that opens secrets or logs in, the worker none of the web server's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pytest_django import Settings

from deploy_manager.exceptions import ConfigurationError
from deploy_manager.models import (
    Credential,
    Deployment,
    Environment,
    Project,
    SecretVariable,
    Server,
    State,
)
from deploy_manager.sealing import Secret, add_key, public_text
from tests.inventory import Inventory, make_inventory
from tests.parts.admin import url, visitor
from tests.parts.admin_run import confirmed, run_page
from tests.parts.git_server import serving
from tests.parts.repository import Repository
from tests.parts.served import wait_until
from tests.parts.sshd import Sshd
from tests.parts.worker import StartWorker
from tests.test_over_ssh import PINS, place, reach_over_ssh

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "tell-nobody-0815"


@pytest.fixture
def of_the_web(tmp_path: Path, settings: Settings) -> Path:
    """Settings of a web server alone; returns the worker's file of keys."""
    keys = tmp_path / "secrets.key"
    public = public_text(add_key(keys))
    settings.DEPLOY_MANAGER = {"CACHE": tmp_path / "web", "SECRETS_PUBLIC_KEY": public}
    return keys


@pytest.fixture
def site(
    of_the_web: Path, repository: Repository, sshd: Sshd, tmp_path: Path, transactional_db: None
) -> Inventory:
    """A small site on a server that lets nobody in yet."""
    repository.commit("Begin", {"manage.py": "", "requirements.txt": PINS})
    made = make_inventory(tmp_path, str(repository.path))
    Environment.objects.update(
        migrate="never", installer="uv", smoke_command='echo "the token is $TOKEN"'
    )
    made.environment.refresh_from_db()
    SecretVariable.objects.put(made.environment, "TOKEN", Secret(TOKEN), "owner")
    server = Server(name="web1")
    reach_over_ssh(server, sshd)
    place(made, server, sshd)
    return made


def test_a_click_on_the_web_server_is_carried_out_by_the_worker(
    site: Inventory,
    repository: Repository,
    of_the_web: Path,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    sshd: Sshd,
    settings: Settings,
    tmp_path: Path,
) -> None:
    owner = visitor("owner")
    sent = {
        "name": "key",
        "kind": Credential.Kind.LOGIN,
        "source": Credential.Source.HERE,
        "_generate": "1",
    }
    assert owner.post(url("credential_add"), sent).status_code == 302
    key = Credential.objects.get()
    with authorized_keys(sshd).open("a") as file:
        file.write(f"{key.public_key}\n")
    with pytest.raises(ConfigurationError):
        key.secret.open()  # type: ignore[union-attr]

    with settings_of_the_worker(of_the_web, settings, monkeypatch, tmp_path):
        start_worker()
    assert TOKEN not in owner.get(run_page(site)).content.decode()
    sent = confirmed(site, repository.head, servers=["web1"], shown_servers="web1")
    assert owner.post(run_page(site), sent).status_code == 302
    made = Deployment.objects.get()
    wait_until(lambda: not Deployment.objects.live().filter(pk=made.pk).exists())

    made.refresh_from_db()
    assert str(made.message) == ""
    assert made.state == State.SUCCEEDED
    (written,) = (sshd.home / "site/.deploy/environment").iterdir()
    assert TOKEN in written.read_text()
    log = b"".join(owner.get(url("deployment_log", made.pk)).streaming_content).decode()  # type: ignore[attr-defined]
    assert "the token is [masked]" in log
    assert TOKEN not in log


def test_a_private_repository_is_fetched_by_the_worker(
    site: Inventory,
    repository: Repository,
    of_the_web: Path,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    tmp_path: Path,
) -> None:
    with serving(repository.path.parent, "oauth2", "right") as server:
        for_both = {"INSECURE_REPOSITORIES": ["127.0.0.1"], "CACHE": tmp_path / "cache"}
        settings.DEPLOY_MANAGER = {**settings.DEPLOY_MANAGER, **for_both}
        address = f"{server.url}/{repository.path.name}"
        Project.objects.update(repository=address)
        row = Credential(name="forge", kind="git-token", host="127.0.0.1", user="oauth2")
        row.put(Secret("wrong"))
        row.save()
        with settings_of_the_worker(of_the_web, settings, monkeypatch, tmp_path, **for_both):
            start_worker()
        owner = visitor("owner")
        assert "credential forge is refused" in owner.get(run_page(site)).content.decode()
        row.put(Secret("right"))
        row.save()
        assert repository.head[:8] in owner.get(run_page(site)).content.decode()
        commit = repository.commit("Go on", {"manage.py": "pass"})
        assert commit[:8] in owner.get(run_page(site)).content.decode()


@contextmanager
def settings_of_the_worker(
    keys: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path, **more: object
) -> Iterator[None]:
    """Let a worker that starts now have the file of keys, and a SECRET_KEY of its own."""
    of_the_web = settings.DEPLOY_MANAGER
    settings.DEPLOY_MANAGER = {
        "CACHE": folder / "worker",
        "SECRETS_KEY_FILE": str(keys),
        **more,
    }
    monkeypatch.setenv("TEST_SECRET_KEY", "of the worker alone")
    yield
    settings.DEPLOY_MANAGER = of_the_web


def authorized_keys(sshd: Sshd) -> Path:
    """The file of the keys that a server lets in; the tests' own key is taken out."""
    (line,) = (
        line
        for line in (sshd.home.parent / "sshd_config").read_text().splitlines()
        if line.startswith("AuthorizedKeysFile")
    )
    path = Path(line.split(None, 1)[1])
    path.write_text("")
    return path
