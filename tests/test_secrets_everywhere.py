"""Secrets of every kind are given to real sites that print them; then they are searched for.

In the rows, the log, the pages, the broker, what was sent, the processes and the disks: nowhere but
sealed, and in private files of the account on the server.
"""

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core import mail
from django.utils.log import AdminEmailHandler
from pytest_django import Settings

from deploy_manager import dispatch
from deploy_manager.deployments.dry_run import dry_run
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.host_work import HostWork
from deploy_manager.deployments.notifying import send_notifications
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.run import run
from deploy_manager.models import (
    Credential,
    Deployment,
    Environment,
    SecretVariable,
    Server,
    State,
    Step,
    Tier,
)
from deploy_manager.notifications import sending
from deploy_manager.recipes import Host, Site, recipe
from deploy_manager.sealing import Secret
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.parts.git_server import GitServer, serving
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.index import Index
from tests.parts.receivers import Receiver, Webhook, receiving
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd, open_folder
from tests.parts.worker import StartWorker, UseBroker
from tests.planted import PLANTED, Search
from tests.searched_places import (
    Overheard,
    Watched,
    log_of,
    look_through_database,
    look_through_disk,
    look_through_pages,
)
from tests.test_over_ssh import place, reach_over_ssh

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 150.0
"""Seconds for a deployment."""

CREDENTIALS = {
    "passphrase": "Zm9v/pass «phräse» $HOME`id`'q'\"日\"",
    "git": """glpat-Zm9v/needle+Yg&x%41:@z'"$(id)""",
    "index": "c2VjcmV0/aW5kZXg+cGFzcw==%41&x",
    "sudo": """$(id)`w`;"s' &root%2F@q8""",
    "tier": "9f3c07d1b2a8e4655c1f90ab37de62184fa05bcc",
}
"""By what they are for; the SSH key itself is made for each test."""

TELLS = """
import base64, html, json, os, shlex, sys, textwrap, time
from urllib.parse import quote, quote_plus
values = {name: os.environ[name] for name in NAMES if name in os.environ}
values |= json.load(open(os.environ["TELLS_ALSO"]))
for name, value in values.items():
    raw = value.encode()
    for text in (
        value, quote(value), quote(value, ""), quote_plus(value), json.dumps({name: value}),
        repr({name: value}), shlex.quote(value), html.escape(value), repr(raw),
        *(base64.b64encode(before + raw).decode() for before in (b"", b"u", b"u:")),
        *(base64.urlsafe_b64encode(before + raw).decode() for before in (b"", b"u", b"u:")),
        base64.encodebytes(b"u:" + raw).decode(), "\\n".join(textwrap.wrap(value, 40)),
    ):
        print(text, flush=True)
        print(f"beside {text} others", file=sys.stderr, flush=True)
    for piece in (raw[:len(raw) // 2], raw[len(raw) // 2:], b"\\n"):
        os.write(1, piece)
        time.sleep(0.02)
print("It is all told.")
""".replace("NAMES", repr(list(PLANTED)))
MIGRATION = """
import tell
from django.db import migrations
class Migration(migrations.Migration):
    dependencies = [("guestbook", "0001_initial")]
    operations = []
"""
RAISES = """
import os
from django.http import HttpRequest
def guestbook(request: HttpRequest):
    return health(request)
def health(request: HttpRequest):
    raise LookupError("of " + " ".join(os.environ[name] for name in NAMES))
""".replace("NAMES", repr(list(PLANTED)))
STAYS = f"{TELLS}\nimport time\ntime.sleep(60)\n"
SUDO = """\
#!/bin/sh
# Stands in for sudo, which no machine of the tests has to have: it repeats the password.
IFS= read -r given
echo "sudo: $given is not the password: $given" >&2
exit 1
"""


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "It did not come to be."
        time.sleep(0.1)


@pytest.fixture
def mailed(settings: Settings) -> Iterator[None]:
    """Errors are mailed to the site's admins, with all that Django's own handler puts into it."""
    settings.ADMINS = [("Ops", "ops@example.org")]
    handler = AdminEmailHandler(include_html=True)
    handler.setLevel(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("django.request", "deploy_manager")]
    for logger in loggers:
        logger.addHandler(handler)
    yield
    for logger in loggers:
        logger.removeHandler(handler)


def plant(environment: Environment) -> None:
    for name, value in PLANTED.items():
        SecretVariable.objects.put(environment, name, Secret(value), "somebody")


def put_credential(kind: str, secret: str, passphrase: str = "", **fields: object) -> None:
    row = Credential(name=f"the-{kind}", **{"kind": kind, **fields})
    row.put(Secret(secret), Secret(passphrase) if passphrase else None)
    row.full_clean()
    row.save()


def raise_on_a_page(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a view fail into which a secret was entered."""
    owner = visitor("owner")
    owner.raise_request_exception = False

    def fail(*_args: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("deploy_manager.admin.inventory.environments.looks_secret", fail)
        data = {"name": "production", "secret_variables-0-new_value": PLANTED["MAIL_PASSWORD"]}
        answer = owner.post(url("environment_change", environment.pk), data)
    assert answer.status_code == 500


def look_through_what_was_said(
    search: Search, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    search.look("what was printed", "".join(capfd.readouterr()).encode(errors="replace"))
    search.look("our loggers", caplog.text.encode(errors="replace"))
    for number, each in enumerate(mail.outbox):
        search.look(f"mail {number}", str(each.message()).encode())
        texts = [each.body, *(text for text, _kind in getattr(each, "alternatives", ()))]
        search.look(f"mail {number}, decoded", "".join(map(str, texts)).encode())


@pytest.mark.usefixtures("own_recipes", "mailed")
def test_what_a_recipe_prints_and_raises_has_no_secret(
    inventory: Inventory,
    transactional_db: None,
    tmp_path: Path,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    environment = inventory.environment
    plant(environment)
    put_credential("sudo", CREDENTIALS["sudo"])
    secrets = {**PLANTED, "sudo": CREDENTIALS["sudo"]}

    @recipe("Tell it, and fail")
    def tell_and_fail(host: Host, site: Site) -> None:
        words = [sys.executable, "-c", "import json, os, sys\n" + TELLS]
        host.run(["env", "TELLS_ALSO=/dev/stdin", *words], stdin=json.dumps(secrets).encode())
        raise LookupError(" ".join(secrets.values()))

    def break_down(work: HostWork, step: Step) -> None:
        run_step(work, step)
        raise LookupError(" ".join(secrets.values()))  # as a mistake of ours would

    caplog.set_level(logging.INFO)
    run_step = HostWork._run_step
    monkeypatch.setattr(HostWork, "_run_step", break_down)
    with Watched() as watched:
        deployment = inventory.request("tell_and_fail")
        run(deployment.pk)
    raise_on_a_page(environment, monkeypatch)
    deployment.refresh_from_db()
    assert deployment.state == State.FAILED
    assert b"It is all told." in log_of(deployment)
    assert log_of(deployment).count(b"[masked]") > 200
    assert "LookupError: [masked]" in caplog.text
    assert len(mail.outbox) >= 2

    search = Search(secrets)
    look_through_database(search)
    look_through_pages(search, environment)
    look_through_what_was_said(search, capfd, caplog)
    search.look_at_many(watched.seen)
    kept = look_through_disk(search, settings.DEPLOY_MANAGER["CACHE"])
    record_property("searched", str(search))
    assert "\n".join(search.found) == ""
    assert kept == []
    for path in look_through_disk(Search(secrets), inventory.folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@dataclass
class World:
    """A site that tells its secrets wherever code of its runs, and what it needs to."""

    inventory: Inventory
    repository: Repository
    sshd: Sshd
    search: Search
    receiver: Receiver
    tells: Path
    """A file with what the site tells besides its variables."""

    @property
    def environment(self) -> Environment:
        return self.inventory.environment

    def request(self, recipe: str = "deploy") -> Deployment:
        """Ask the worker for it."""
        return dispatch.request(
            self.environment, recipe, source="manage.py", requested_by_name="me@here"
        )

    def see_through(self, recipe: str = "deploy") -> Deployment:
        deployment = self.request(recipe)
        return self.wait_for(deployment)

    def wait_for(self, deployment: Deployment) -> Deployment:
        def ended() -> bool:
            deployment.refresh_from_db()
            return not deployment.is_live

        wait_until(ended)
        return deployment

    def cancel_once_all_is_told(self) -> Deployment:
        deployment = self.request()

        def told() -> bool:
            deployment.refresh_from_db()
            return b"It is all told." in log_of(deployment) or not deployment.is_live

        wait_until(told)
        assert cancel(deployment, "somebody")
        return self.wait_for(deployment)


@pytest.fixture
def private_index(
    package_index: Index, guestbook: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Index:
    """The packages of the site, for who has the password."""
    python = shutil.which("python3", path=os.defpath)
    assert python
    ask = [python, "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    folder = tmp_path / "wheels"
    words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    words += ["--python-version", version, "-r", str(guestbook.path / "requirements.txt")]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    for file in folder.glob("*.whl"):
        package_index.offer(file)
    package_index.user, package_index.password = "robot", CREDENTIALS["index"]
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return package_index


@pytest.fixture
def git_server(guestbook: Repository) -> Iterator[GitServer]:
    """The repository, for who has the token."""
    guestbook.commit("Tell it", {"tell.py": TELLS, "guestbook/migrations/0002_tell.py": MIGRATION})
    with serving(guestbook.path.parent, "oauth2", CREDENTIALS["git"]) as server:
        yield server


@pytest.fixture
def programs() -> Iterator[Path]:
    """A folder with the sudo of the server."""
    with open_folder() as folder:
        (folder / "sudo").write_text(SUDO)
        (folder / "sudo").chmod(0o755)
        yield folder


def locked(key: Path, folder: Path) -> str:
    copy = folder / "locked"
    copy.touch(0o600)
    copy.write_bytes(key.read_bytes())
    words = ["ssh-keygen", "-q", "-p", "-P", "", "-N", CREDENTIALS["passphrase"], "-f", str(copy)]
    subprocess.run(words, check=True, capture_output=True)
    text = copy.read_text()
    copy.unlink()
    return text


def seed_of(key: Path) -> bytes:
    """Return what a private key is in the end, however it is written."""
    read = serialization.load_ssh_private_key(key.read_bytes(), None)
    assert isinstance(read, Ed25519PrivateKey)
    return read.private_bytes_raw()


@pytest.fixture
def world(
    guestbook: Repository,
    git_server: GitServer,
    private_index: Index,
    programs: Path,
    start_sshd: StartSshd,
    ssh_key: Path,
    settings: Settings,
    tmp_path: Path,
    redis_url: str,
    start_worker: StartWorker,
    use_broker: UseBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """`shop/production` on a server over SSH, worked on by a worker that Redis wakes."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    sshd = start_sshd(ListenAddress="127.0.9.31", programs=str(programs))
    made = make_site(tmp_path, guestbook, sshd.home / "guestbook.sqlite3")
    key = locked(ssh_key, tmp_path)
    secrets: dict[str, str | bytes] = {**PLANTED, **CREDENTIALS, "key": key}
    secrets["seed"] = seed_of(ssh_key)
    with receiving(Webhook) as receiver:
        in_vault = programs / "index-password"
        in_vault.touch(0o600)
        in_vault.write_text(CREDENTIALS["index"])
        settings.DEPLOY_MANAGER = {
            **settings.DEPLOY_MANAGER,
            "INSECURE_REPOSITORIES": ["127.0.0.1"],
            "SECRET_COMMANDS": {"vault": ["cat", "{}"]},
            "NOTIFY": {"team": f"json://127.0.0.1:{receiver.port}/"},
        }
        _write_rows(made, key, in_vault, git_server, private_index)
        also = programs / "told"
        also.touch(0o600)
        also.write_text(json.dumps({**CREDENTIALS, "key": key}))
        shutil.chown(also, sshd.user)
        _have_it_tell(made.environment, also)
        server = Server(name="web1")
        reach_over_ssh(server, sshd)
        place(made, server, sshd)
        use_broker(redis_url)
        start_worker()
        yield World(made, guestbook, sshd, Search(secrets), receiver, also)
        end_gunicorns(made.environment)


def _write_rows(
    made: Inventory, key: str, in_vault: Path, git_server: GitServer, index: Index
) -> None:
    environment, project = made.environment, made.environment.project
    project.repository = f"{git_server.url}/guestbook/.git"
    project.full_clean()
    project.save()
    environment.index_url = index.url
    environment.save()
    put_credential("login", key, CREDENTIALS["passphrase"])
    put_credential("git-token", CREDENTIALS["git"], host="127.0.0.1", user="oauth2")
    put_credential("sudo", CREDENTIALS["sudo"])
    Credential.objects.create(
        name="the-index",
        kind="index",
        source="command",
        command="vault",
        reference=str(in_vault),
        host="127.0.0.1",
        user="robot",
    )
    Tier.objects.create(
        environment=environment, kind="redis", name="redis", secret=Secret(CREDENTIALS["tier"])
    )


def _have_it_tell(environment: Environment, also: Path) -> None:
    environment.variables.pop("SECRET_KEY")
    environment.variables["TELLS_ALSO"] = str(also)
    environment.build_commands = ["$PYTHON tell.py"]
    environment.health_deadline = 3
    environment.save()
    plant(environment)
    states = ["succeeded", "failed", "cancelled"]
    environment.notifications.create(target="team", states=states)


@pytest.mark.long
def test_no_secret_is_readable_anywhere(
    world: World,
    redis_url: str,
    settings: Settings,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    caplog.set_level(logging.INFO)
    search = world.search
    with Overheard(redis_url) as overheard, Watched() as watched:
        told = world.see_through()
        assert (told.state, str(told.message)) == (State.SUCCEEDED, "")
        assert log_of(told).count(b"It is all told.") >= 2  # by the build, and by a migration
        assert log_of(told).count(b"[masked]") > 200

        # What a command prints is known to who runs it: the later ones install nothing.
        world.tells.write_text(world.tells.read_text().replace(CREDENTIALS["index"], "nothing"))
        refused = world.see_through("preview_tiers")
        assert b"sudo: [masked] is not the password: [masked]" in log_of(refused)

        world.repository.commit("Raise it", {"guestbook/views.py": RAISES})
        failed = world.see_through()
        assert failed.state == State.FAILED
        assert b"LookupError: of [masked]" in log_of(failed)

        world.repository.commit("Stay", {"tell.py": STAYS})
        cancelled = world.cancel_once_all_is_told()
        assert cancelled.state == State.CANCELLED
        # The worker has sent them as well, unless this machine was too busy to do so in time.
        monkeypatch.setattr(sending, "SECONDS", PATIENCE)
        sent = [send_notifications(each.pk) for each in (told, refused, failed, cancelled)]
        assert sent == [1, 1, 1, 1]
        kept = dict(overheard.kept())

    assert b"deploy_manager.run_shard" in overheard.told
    search.look("Redis", bytes(overheard.told))
    search.look_at_many({**kept, **watched.seen})
    look_through_database(search)
    look_through_pages(search, world.environment)
    look_through_what_was_said(search, capfd, caplog)
    search.look("notifications", json.dumps(world.receiver.told).encode())
    for step in dry_run(world.environment, "deploy", DeploymentOptions()):
        search.look(f"dry run: {step.recipe}", "\n".join(step.lines).encode())
    # Its cache, its log, and whatever else there is: the test keeps what it plants elsewhere.
    left = look_through_disk(search, tmp_path)
    record_property("searched", str(search))
    assert any("environ of" in name and "celery" in name for name in watched.seen)
    assert "\n".join(search.found) == ""
    assert left == []
    _only_private_files_have_them(world)


def _only_private_files_have_them(world: World) -> None:
    """On the server only files have them that its account alone can read."""
    private = look_through_disk(Search(world.search.secrets), world.sshd.home)
    assert {path.parent.name for path in private} >= {"environment"}
    wrong = [
        (path, oct(path.stat().st_mode))
        for path in private
        if stat.S_IMODE(path.stat().st_mode) != 0o600
        or ".deploy" not in path.parts
        or path.owner() != world.sshd.user
    ]
    assert wrong == []
