"""Ten kinds of secrets are given to a real site that prints them; then they are searched for.

In the rows, the log, the pages, what was sent, the processes and the disks: nowhere but sealed, and
in private files of the account on the server.
"""

import json
import logging
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.apps import apps
from django.core import mail, serializers
from pytest_django import Settings

from deploy_manager.admin.addresses import run_url
from deploy_manager.deployments.dry_run import dry_run
from deploy_manager.deployments.ending import cancel
from deploy_manager.deployments.notifying import send_notifications
from deploy_manager.deployments.request import DeploymentOptions
from deploy_manager.deployments.run import run
from deploy_manager.models import Deployment, Environment, SecretVariable, Server, State
from deploy_manager.notifications import sending
from deploy_manager.sealing import Secret
from tests.inventory import Inventory
from tests.parts.admin import url, visitor
from tests.parts.guestbook import end_gunicorns, make_site
from tests.parts.receivers import Webhook, receiving
from tests.parts.repository import Repository
from tests.parts.sshd import Sshd, StartSshd
from tests.planted import PLANTED, hits
from tests.test_over_ssh import place, reach_over_ssh

pytestmark = pytest.mark.django_db(transaction=True)

TELLS = """
import base64, html, json, os, shlex, sys, textwrap
from urllib.parse import quote, quote_plus
NAMES = ALL
for name in NAMES:
    value = os.environ[name]
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
print("It is all told.")
""".replace("ALL", repr(list(PLANTED)))
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
    raise LookupError("of " + " ".join(os.environ[name] for name in ALL))
""".replace("ALL", repr(list(PLANTED)))
OUR_OWN = re.compile(
    rb"uv|pip3?|git|ssh|sshd|sshd-session|sftp-server"
    rb"|(guard|launch|virtualenv|unpack|clean_up|run_tool|preflight)\b[\w.-]*"
)
"""Programs that work for a deployment and need no secret in their environment."""


class Watched:
    """What processes of this machine had on their command lines, and ours in their environments.

    Looked at all the time, in a thread.
    """

    def __init__(self) -> None:
        self.seen: dict[str, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watched":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with suppress(OSError):
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    self.seen[f"{pid} {line[:60]!r}"] = line
                    # The site's own have them in their environments: that is what these are for.
                    names = (word.rpartition(b"/")[2] for word in line.split(b"\0")[:4])
                    if any(map(OUR_OWN.fullmatch, names)):
                        environ = Path(f"/proc/{pid}/environ").read_bytes()
                        self.seen[f"{pid} environ of {line[:60]!r}"] = environ


@pytest.fixture
def telling(
    guestbook: Repository,
    start_sshd: StartSshd,
    ssh_settings: Settings,
    tmp_path: Path,
    transactional_db: None,
) -> Iterator[tuple[Inventory, Sshd]]:
    """`shop/production` on a server over SSH: it tells its secrets wherever code of its runs."""
    sshd = start_sshd(ListenAddress="127.0.9.31")
    made = make_site(tmp_path, guestbook, sshd.home / "guestbook.sqlite3")
    guestbook.commit("Tell it", {"tell.py": TELLS, "guestbook/migrations/0002_tell.py": MIGRATION})
    environment = made.environment
    environment.variables.pop("SECRET_KEY")
    environment.build_commands = ["$PYTHON tell.py"]
    environment.health_deadline = 3
    environment.save()
    for name, value in PLANTED.items():
        SecretVariable.objects.put(environment, name, Secret(value), "somebody")
    environment.notifications.create(target="team", states=["succeeded", "failed", "cancelled"])
    server = Server(name="web1")
    reach_over_ssh(server, sshd)
    place(made, server, sshd)
    yield made, sshd
    end_gunicorns(made.environment)


def deploy(inventory: Inventory) -> Deployment:
    deployment = inventory.request("deploy")
    run(deployment.pk)
    deployment.refresh_from_db()
    return deployment


def everything_in_rows() -> bytes:
    """Return all rows of all tables as text, and what the log has as it was printed."""
    models = [model for model in apps.get_models() if model._meta.managed]
    rows = [row for model in models for row in model._default_manager.all()]
    logs = [
        bytes(chunk.data) for chunk in apps.get_model("deploy_manager", "LogChunk").objects.all()
    ]
    dump: str = serializers.serialize("json", rows)
    return dump.encode() + b"".join(logs)


def log_of(deployment: Deployment) -> bytes:
    return b"".join(map(bytes, deployment.log_chunks.values_list("data", flat=True)))


def pages_of(environment: Environment) -> Iterator[tuple[str, bytes]]:
    owner = visitor("owner")
    addresses = [
        url("environment_change", environment.pk),
        url("environment_history", environment.pk),
        url("environment_command", environment.pk),
        run_url("deploy", [environment.pk]),
        url("environment_changelist"),
        url("deployment_changelist"),
    ]
    for deployment in environment.deployments.all():
        page = url("deployment_change", deployment.pk)
        addresses += [page, url("deployment_log", deployment.pk)]
        addresses += [url("deployment_progress", deployment.pk)]
    for address in addresses:
        response = owner.get(address)
        assert response.status_code == 200, address
        yield address, b"".join(response) if response.streaming else response.content


def files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                yield path


@pytest.mark.long
def test_no_secret_is_readable_anywhere(
    telling: tuple[Inventory, Sshd],
    guestbook: Repository,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inventory, sshd = telling
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sending, "SECONDS", 60.0)
    caplog.set_level(logging.INFO)
    with receiving(Webhook) as receiver, Watched() as watched:
        settings.DEPLOY_MANAGER = {
            **settings.DEPLOY_MANAGER,
            "NOTIFY": {"team": f"json://127.0.0.1:{receiver.port}/"},
        }

        told = deploy(inventory)
        assert (told.state, str(told.message)) == (State.SUCCEEDED, "")
        assert log_of(told).count(b"It is all told.") >= 2  # by the build, and by a migration
        assert log_of(told).count(b"[masked]") > 200

        guestbook.commit("Raise it", {"guestbook/views.py": RAISES})
        failed = deploy(inventory)
        assert failed.state == State.FAILED
        assert b"LookupError: of [masked]" in log_of(failed)

        guestbook.commit("Stay", {"tell.py": f"{TELLS}\nimport time\ntime.sleep(60)\n"})
        cancelled = inventory.request("deploy")
        thread = threading.Thread(target=run, args=(cancelled.pk,))
        thread.start()
        while b"It is all told." not in log_of(cancelled) and thread.is_alive():
            thread.join(0.1)
        assert cancel(cancelled, "somebody")
        thread.join()
        cancelled.refresh_from_db()
        assert cancelled.state == State.CANCELLED
        for each in (told, failed, cancelled):
            send_notifications(each.pk)

    out, err = capfd.readouterr()
    environment = inventory.environment
    # All at once: what is found in one place tells where to look in the others.
    found = {
        "rows": hits(everything_in_rows()),
        "notifications": hits(json.dumps(receiver.told).encode()),
        "the worker's log": hits(f"{out}{err}{caplog.text}".encode(errors="replace")),
        "mails": hits("".join(str(each.message()) for each in mail.outbox).encode()),
        **{name: hits(page) for name, page in pages_of(environment)},
        **{name: hits(text) for name, text in watched.seen.items()},
        **{
            f"dry run: {step.recipe}": hits("\n".join(step.lines).encode())
            for step in dry_run(environment, "deploy", DeploymentOptions())
        },
        **{str(path): hits(path.read_bytes()) for path in files_below(worker_folder(settings))},
    }
    assert sum("environ of" in place for place in found) > 5
    assert [f"{place}: {sorted(names)}" for place, names in found.items() if names] == []

    # On the server only in files that its account alone can read.
    private = [path for path in files_below(sshd.home) if hits(path.read_bytes())]
    assert {path.parent.name for path in private} >= {"environment"}
    wrong = [
        (path, oct(path.stat().st_mode))
        for path in private
        if stat.S_IMODE(path.stat().st_mode) != 0o600
        or ".deploy" not in path.parts
        or path.owner() != sshd.user
    ]
    assert wrong == []
    assert len(receiver.told) == 3


def worker_folder(settings: Settings) -> Path:
    folder = settings.DEPLOY_MANAGER["CACHE"]
    assert isinstance(folder, Path)
    return folder
