"""The admin's visitors, a repository to plan from, and deployments that went one way or another."""

import os
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import Permission, User
from django.db import models, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from deploy_manager.models import (
    Deployment,
    Environment,
    HostRun,
    LogChunk,
    Shard,
    ShardState,
    State,
    Step,
)

MODELS = (
    "deployment",
    "environment",
    "lockfile",
    "placement",
    "project",
    "release",
    "requirement",
    "server",
    "upgrade",
)
VIEWS = (
    *(f"view_{name}" for name in (*MODELS, "notification", "schedule")),
    "view_log_environment",
)
RUNS = tuple(
    f"{verb}_environment" for verb in ("deploy", "roll_back", "run_recipe", "upgrade", "freeze")
)
"""The rights of somebody who runs everything, and changes no settings."""


class ObjectRights(BaseBackend):
    """Rights on single objects, as packages for them grant."""

    granted: ClassVar[set[tuple[int, str, str, int]]] = set()

    @classmethod
    def grant(cls, user: User, right: str, thing: models.Model) -> None:
        cls.granted.add((user.pk, f"deploy_manager.{right}", thing._meta.label, thing.pk))

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return obj is not None and (user_obj.pk, perm, obj._meta.label, obj.pk) in self.granted


def make_user(name: str, *rights: str, superuser: bool = False) -> User:
    """Write a member of staff with these rights on everything."""
    user = User.objects.create(username=name, is_staff=True, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return user


def visitor(kind: str) -> Client:
    """A logged-in owner, deployer, editor, viewer or stranger; or nobody at all."""
    rights = {
        "viewer": VIEWS,
        "deployer": (*VIEWS, *RUNS),
        "editor": (*VIEWS, "change_environment"),
    }.get(kind, ())
    client = Client()
    if kind != "nobody":
        known = User.objects.filter(username=kind).first()
        client.force_login(known or make_user(kind, *rights, superuser=kind == "owner"))
    return client


def url(name: str, *args: object, **query: object) -> str:
    """An address of this app's admin."""
    return reverse(f"admin:deploy_manager_{name}", args=args, query=query or None)


def make_shop(folder: Path) -> tuple[str, list[str]]:
    """Make a git repository of a tiny site; return its path and the hashes of its two commits."""
    folder.mkdir()
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    hashes = []
    for subject, pins in (
        ("Begin", "django==5.2.1\nasgiref==3.8.1\n"),
        ("Show <b>stock</b>", "django==5.2.3\nsqlparse==0.5.1\n"),
    ):
        (folder / "manage.py").write_text("# manage\n")
        (folder / "requirements.txt").write_text(pins)
        _git(folder, "add", ".")
        _git(folder, "commit", "--quiet", "--message", subject)
        hashes.append(_git(folder, "rev-parse", "HEAD"))
    return str(folder), hashes


def _git(folder: Path, *words: str) -> str:
    who = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", "A <i>developer</i>"), ("EMAIL", "dev@example.org"))
    }
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()


def write_deployment(
    environment: Environment,
    *,
    state: State = State.RUNNING,
    titles: tuple[str, ...] = ("Ping",),
    **fields: Any,
) -> Deployment:
    """Write a deployment of one phase, in a state, on all servers of an environment."""
    times = {
        "started_at": None if state in (State.WAITING, State.QUEUED) else timezone.now(),
        "finished_at": None if state.is_live else timezone.now(),
    }
    of_hosts = {State.WAITING: State.QUEUED, State.PARTLY_FAILED: State.FAILED}.get(state, state)
    of_steps = State.FAILED if state is State.ROLLED_BACK else of_hosts
    deployment = Deployment.objects.create(
        environment=environment,
        **{
            "recipe": "ping",
            "requested_by_name": "me",
            "source": "fab",
            "state": state,
            **times,
            **fields,
        },
    )
    held = write_shard(deployment)
    for placement in environment.placements.select_related("server"):
        run = HostRun.objects.create(
            deployment=deployment,
            shard=held,
            placement=placement,
            server_name=placement.server.name,
            state=of_hosts,
            **times,
        )
        for number, title in enumerate(titles, 1):
            Step.objects.create(
                host_run=run,
                number=number,
                phase="run",
                recipe=f"step{number}",
                title=title,
                state=of_steps,
                **times,
            )
    return deployment


def write_shard(deployment: Deployment) -> Shard:
    """Write the one shard of a deployment: queued, held by a worker, or ended with it."""
    states = {
        State.WAITING: ShardState.QUEUED,
        State.QUEUED: ShardState.QUEUED,
        State.RUNNING: ShardState.HELD,
    }
    state = states.get(State(deployment.state), ShardState.ENDED)
    is_held = state is ShardState.HELD
    return deployment.shards.create(
        number=1,
        state=state,
        holder="here:1" if is_held else "",
        token=1 if is_held else 0,
        beat_at=timezone.now() if is_held else None,
    )


@transaction.atomic
def write_output(step: Step, data: bytes, stream: int = LogChunk.Stream.STDOUT) -> LogChunk:
    """Add output to a step as the engine's writer does: number and chunk in one transaction."""
    deployment = step.host_run.deployment
    deployment.refresh_from_db()
    deployment.sequence += 1
    deployment.save(update_fields=["sequence"])
    return LogChunk.objects.create(
        deployment=deployment,
        host_run=step.host_run,
        step=step,
        sequence=deployment.sequence,
        stream=stream,
        data=data,
    )
