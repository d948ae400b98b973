"""From rows to the plain facts that recipes are handed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy_manager.conf import get_settings
from deploy_manager.models import Environment, Lock, Placement, Release
from deploy_manager.recipes import HealthCheck, Reload, Site
from deploy_manager.runner.pins import pinned_in

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  we ask there, not listen


def site_of(
    placement: Placement,
    release: Release | None = None,
    archive: Path | None = None,
    forced_migrations: Sequence[str] = (),
) -> Site:
    """Return what a recipe needs to know of one environment on one server.

    `release` is the one at hand; None: the one that serves.
    """
    environment = placement.environment
    return Site(
        environment=str(environment),
        deploy_path=placement.deploy_path,
        roles=frozenset(placement.roles),
        release=release.name if release else "",
        commit=release.commit if release else "",
        archive=archive,
        folder=environment.project.folder,
        python=environment.python,
        installer=environment.installer,
        **(_pins(release.lock) if release else {}),
        index_url=environment.index_url,
        settings_module=environment.settings_module,
        variables=environment.variables,
        shared=tuple(environment.shared),
        smoke_command=environment.smoke_command,
        reload=_reload(environment, placement.bind),
        health=_health(environment, placement.bind),
        keep_releases=environment.keep_releases,
        keep=frozenset({placement.active_release.name} if placement.active_release else ()),
        forced_migrations=frozenset(forced_migrations),
        cache=get_settings().CACHE / "tools",
    )


def _pins(lock: Lock) -> dict[str, Any]:
    return {"lock": lock.text, "lock_digest": lock.digest, "pins": pinned_in(lock.text)}


def _reload(environment: Environment, bind: str) -> Reload:
    return Reload(
        method=environment.reload_method,
        target=environment.reload_target,
        wsgi=environment.wsgi_application,
        workers=environment.workers,
        bind=bind,
    )


def _health(environment: Environment, bind: str) -> HealthCheck:
    return HealthCheck(
        url=_url(bind, environment.health_path) if environment.health_path else "",
        status=environment.health_status,
        text=environment.health_text,
        host_header=environment.health_host,
        deadline=environment.health_deadline,
    )


def _url(bind: str, path: str) -> str:
    """The health check's URL; a socket is written as web servers do: http://unix:/path:/uri."""
    if bind.startswith("unix:"):
        return f"http://{bind}:{path}"
    host, port = bind.rsplit(":", 1)
    return f"http://{_ANY_ADDRESS.get(host, host)}:{port}{path}"
