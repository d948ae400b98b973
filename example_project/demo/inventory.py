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
            # Nothing of a demo outlives it, neither in systemd nor in a crontab.
            "supervisor": Environment.Supervisor.STARTER,
            "at_boot": False,
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
    # People may have placed it a second time, in another folder.
    placements = list(environment.placements.filter(server=server))
    if not placements:
        made = Placement(
            environment=environment, server=server, order=order, own_deploy_path=str(path)
        )
        placements.append(made)
    for placement in placements:
        # Another program may have taken the port since the last demo.
        if placement.pk is None or not _is_free(placement.bind):
            placement.own_bind = f"127.0.0.1:{free_port()}"
            placement.save()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _is_free(bind: str) -> bool:
    """Whether nothing listens at an address; a socket file is taken by nobody else."""
    if bind.startswith("unix:"):
        return True
    host, _, port = bind.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return False
    except OSError:
        return True
