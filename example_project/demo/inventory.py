"""The rows of the demo: a project, an environment, four local servers, an administrator."""

import secrets
import socket
from pathlib import Path

from django.contrib.auth import get_user_model

from deploy_manager.models import Environment, Placement, Project, Server

SERVERS = ("one", "two", "three", "four")
USER = "admin"


def make_administrator(folder: Path) -> str:
    """Return the administrator's password; the first time, create it with the account."""
    file = folder / "admin-password"
    users = get_user_model()
    if not file.exists() or not users.objects.filter(username=USER).exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(9))
        users.objects.filter(username=USER).delete()
        users.objects.create_superuser(USER, password=file.read_text())
    return file.read_text()


def make_environment(folder: Path, repository: Path) -> Environment:
    """Return guestbook/production on its four servers; existing rows stay as they are."""
    project, _ = Project.objects.get_or_create(
        name="guestbook", defaults={"repository": str(repository)}
    )
    environment, _ = Environment.objects.get_or_create(
        project=project,
        name="production",
        defaults={
            "deploy_path": str(folder / "sites/guestbook"),
            "installer": Environment.Installer.UV,
            "health_path": "/health/",
            "health_text": '"status": "ok"',
            "health_deadline": 15,
            # One database for the four servers, as in production. No SECRET_KEY, since variables
            # are stored as plain text: the guestbook makes its own, as nothing in it is signed.
            "variables": {"DATABASE_PATH": str(folder / "guestbook.sqlite3")},
        },
    )
    for order, name in enumerate(SERVERS, 1):
        _place(environment, name, order, folder / "sites" / name)
    return environment


def _place(environment: Environment, name: str, order: int, path: Path) -> None:
    server, _ = Server.objects.get_or_create(
        name=name, defaults={"connection": Server.Connection.LOCAL}
    )
    placement, made = Placement.objects.get_or_create(
        environment=environment,
        server=server,
        defaults={"order": order, "own_deploy_path": str(path)},
    )
    # Another program may have taken the port since the last demo.
    if made or not _is_free(placement.bind):
        placement.own_bind = f"127.0.0.1:{free_port()}"
        placement.save(update_fields=["own_bind"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _is_free(bind: str) -> bool:
    host, _, port = bind.rpartition(":")
    with socket.socket() as listener:
        return listener.connect_ex((host, int(port))) != 0
