"""From rows to the plain facts that recipes are handed."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.hosts.address import Address, OpenHost, Stream
from deploy_manager.hosts.opening import open_host
from deploy_manager.models import Environment, Placement, Release
from deploy_manager.packages.pins import pinned_in
from deploy_manager.recipes import Builder, HealthCheck, Reload, Site
from deploy_manager.row_checks import check_row

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  we ask there, not listen


def site_of(
    placement: Placement,
    release: Release | None = None,
    archive: Path | None = None,
    forced_migrations: Sequence[str] = (),
    cancelled: Event | None = None,
) -> Site:
    """Return what a recipe needs to know of one environment on one server.

    `release` is the one at hand; None: the one that serves. Without `cancelled`, which stops what
    is built elsewhere, nothing is fetched or built. Raises InvalidRow.
    """
    environment = placement.environment
    check_row(placement)
    site = Site(
        environment=str(environment),
        deploy_path=placement.deploy_path,
        roles=frozenset(placement.roles),
        archive=archive,
        folder=environment.project.folder,
        python=environment.python,
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
    return _with_packages(_with_release(site, release), environment, cancelled)


def _with_release(site: Site, release: Release | None) -> Site:
    if release is None:
        return site
    lock = release.lock
    return replace(
        site,
        release=release.name,
        commit=release.commit,
        lock=lock.text,
        lock_digest=lock.digest,
        pins=pinned_in(lock.text),
    )


def _with_packages(site: Site, environment: Environment, cancelled: Event | None) -> Site:
    return replace(
        site,
        installer=environment.installer,
        index_url=environment.index_url,
        wheels=environment.wheels,
        builder=_builder(environment, cancelled) if cancelled else None,
        may_fetch=cancelled is not None,
        wheels_cache=get_settings().CACHE / "wheels",
    )


def _builder(environment: Environment, cancelled: Event) -> Builder | None:
    """Return who builds what has no wheel; None: nobody does, and the worker never."""
    server = environment.builder
    if server is None or environment.wheels != Environment.Wheels.SHIPPED:
        return None
    address = address_of(server)
    return Builder(server.name, environment.python, lambda: _open(address, cancelled))


@contextmanager
def _open(address: Address, cancelled: Event) -> Iterator[OpenHost]:
    with closing(open_host(address, _not_kept, cancelled)) as host:
        yield host


def _not_kept(stream: Stream, data: bytes) -> None:
    """What a build prints is told where it fails."""


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
