"""From rows to plain facts: what the work on each host, and the recipes it runs, need to know."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from threading import Event

from django.db.models import QuerySet, prefetch_related_objects
from django.utils.translation import gettext_noop as _

from deploy_manager.addresses import address_of
from deploy_manager.conf import get_settings
from deploy_manager.credentials import Known, index_of, key_login, sudo_login
from deploy_manager.deployments.confirming import split_by_server, why_changed
from deploy_manager.deployments.machine_needs import machine_of
from deploy_manager.deployments.prepare import Prepared
from deploy_manager.deployments.provisioning import is_as_bootstrap, tools_of_bootstrap
from deploy_manager.deployments.site_processes import processes_on
from deploy_manager.deployments.site_tiers import tier_variables, tiers_on
from deploy_manager.exceptions import DeployManagerError, PlanChanged, UnknownRecipe
from deploy_manager.hosts.address import Address, OpenHost
from deploy_manager.hosts.guard_line import Work
from deploy_manager.hosts.identity import public_key
from deploy_manager.hosts.opening import open_host
from deploy_manager.messages import Message
from deploy_manager.models import (
    LIVE,
    Environment,
    HostRun,
    Placement,
    Release,
    Shard,
    Step,
)
from deploy_manager.models.runs import SERVER_REMOVED
from deploy_manager.models.shapes import texts_in
from deploy_manager.packages.pins import pinned_in, pins_in
from deploy_manager.recipes import Builder, HealthCheck, Reload, Site, get_recipe
from deploy_manager.recipes.environments import make_virtualenv
from deploy_manager.recipes.host import OLDEST_PYTHON
from deploy_manager.recipes.in_project import FORESEEN, PARTS
from deploy_manager.recipes.machine import PYTHON
from deploy_manager.recipes.packing import oldest_python
from deploy_manager.recipes.registry import is_ours
from deploy_manager.recipes.tiers import TIER_RECIPES
from deploy_manager.row_checks import check_host_run, check_row
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import NO_SECRETS, SiteSecrets

OLDEST_TO_PROVISION = (3, 10)
"""The system's own Python, which may be older than the one that the site runs on."""

# A web server that listens on every address is asked on this machine's own.
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  asked there, not bound


@dataclass(frozen=True)
class Orders:
    """What a host's work needs to know of the rows; it touches no database itself."""

    run: HostRun
    placement: Placement
    site: Site
    address: Address
    work: Work
    releases: Mapping[str, int]
    """The environment's releases: their names, and the keys of their rows."""

    rolls_back: bool = False
    """Whether a server that fails returns to what it served."""

    before: str = ""
    """The release that was served before this deployment, if it was written down already."""

    is_bootstrap: bool = False
    """Whether its bootstrap user works on it, who makes what the account that deploys needs."""

    only_looks: bool = False
    """Whether nothing is changed: then it is done without a guard, and leaves nothing there."""

    notices: tuple[Message, ...] = ()
    """What could not be checked beforehand, for the log of its first step."""

    def site_for(self, step: Step, before: str = "") -> Site:
        """Return the site a step's recipe gets: in a rollback, with the release before."""
        if not step.is_rollback:
            group = next((each for each in self._groups if step in each), [])
            names = tuple(each.recipe for each in group)
            return replace(self.site, together=names, begun_by=group[0].number if group else 0)
        return replace(self.site, release=before or self.before, keep_database=True)

    @cached_property
    def _groups(self) -> list[list[Step]]:
        return groups_of(list(self.run.steps.all()))


def groups_of(steps: Sequence[Step]) -> list[list[Step]]:
    """Return the steps of a host that share a process inside the project: see recipes/in_project.

    They follow each other. What is to be migrated is found out with the last of them if nothing
    but our own recipes comes between, and the migration is what follows next.
    """
    own = [step for step in steps if not step.is_rollback]
    by_place = groupby(own, key=lambda step: (step.stage, step.recipe in PARTS))
    groups = [list(group) for (_stage, is_part), group in by_place if is_part]
    if len(groups) > 1 and groups[-1][0].recipe == FORESEEN:
        *between, last = own[own.index(groups[-2][-1]) + 1 : own.index(groups[-1][0]) + 1]
        is_next = last.stage == groups[-2][-1].stage + 1
        if is_next and all(is_ours(step.recipe) for step in between):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [group for group in groups if len(group) > 1]


@dataclass(frozen=True)
class NoOrders:
    """A host that no worker can work on: its server left the environment, or its row is invalid."""

    run: HostRun
    why: Message


def orders_of(
    held: Shard, prepared: Prepared, cancelled: Event, secrets: SiteSecrets
) -> tuple[list[Orders], list[NoOrders]]:
    """Return the orders for each live host of a shard, and the hosts that get none.

    `cancelled` ends what is built for them. Raises DeployManagerError for a row that is invalid
    before the deployment has begun: then no server is touched; PlanChanged for rows of all servers
    that are not as they were confirmed.
    """
    environment = held.deployment.environment
    # Once for all hosts, each of which asks which processes run on it.
    prefetch_related_objects([environment], "placements__server", "processes", "tiers")
    releases = dict(environment.releases.values_list("name", "pk"))
    known = Known.load()
    orders: list[Orders] = []
    without: list[NoOrders] = []
    # What has ended needs none: its server may have left since.
    for run in _with_places(held.host_runs.filter(state__in=LIVE)):
        try:
            orders.append(_orders(run, held, prepared, releases, known, secrets, cancelled))
        except DeployManagerError as error:
            if not held.deployment.stage and run.placement is not None:
                raise
            without.append(NoOrders(run, error.message))
    orders, changed = _without_the_changed(held, orders)
    without += changed
    # Once is enough for all of them.
    orders[:1] = [replace(each, notices=prepared.notices) for each in orders[:1]]
    return orders, without


def _without_the_changed(held: Shard, orders: list[Orders]) -> tuple[list[Orders], list[NoOrders]]:
    """Leave out the servers that are not as they were confirmed. Raises PlanChanged."""
    # After the rows were read: what the orders were made of, and what stands there by now.
    deployment = held.deployment
    everybody, alone = split_by_server(deployment, [each.placement for each in orders])
    if not deployment.stage:
        everybody += [change for changes in alone.values() for change in changes]
    if everybody:
        raise PlanChanged(why_changed(everybody, deployment.plan))
    kept = [each for each in orders if each.placement.pk not in alone]
    changed = [
        NoOrders(each.run, why_changed(alone[each.placement.pk], deployment.plan))
        for each in orders
        if each.placement.pk in alone
    ]
    return kept, changed


def orders_for(host_run_id: int, prepared: Prepared, secrets: SiteSecrets) -> Orders:
    """Return the orders of one host of a deployment that may have ended.

    Raises DeployManagerError if its server has left the environment, or its row is invalid.
    """
    run = _with_places(HostRun.objects.filter(pk=host_run_id)).get()
    held = Shard.objects.select_related("deployment__environment__project").get(pk=run.shard_id)
    return _orders(run, held, prepared, {}, Known.load(), secrets)


def _with_places(runs: QuerySet[HostRun]) -> QuerySet[HostRun]:
    return runs.select_related(
        "placement__server__gateway", "placement__active_release", "release_before"
    ).prefetch_related("steps")


def _orders(
    run: HostRun,
    held: Shard,
    prepared: Prepared,
    releases: dict[str, int],
    known: Known,
    secrets: SiteSecrets,
    cancelled: Event | None = None,
) -> Orders:
    placement, deployment = run.placement, held.deployment
    if placement is None:
        raise DeployManagerError(
            _("%(server)s was taken out of the environment."),
            SERVER_REMOVED,
            server=run.server_name,
        )
    check_host_run(run)
    # The one that was read already: else each host would read it, and its project, once more.
    placement.environment = deployment.environment
    server, environment = placement.server, placement.environment
    recipes = [step.recipe for step in run.steps.all()]
    is_bootstrap = _is_bootstrap(recipes)
    user = server.bootstrap_user if is_bootstrap else server.user
    forced = deployment.forced_migrations
    site = replace(
        site_of(placement, prepared.release, prepared.archive, forced, cancelled, secrets=secrets),
        arguments=texts_in(deployment.arguments),
        sudo=sudo_login(known, server, environment, user),
    )
    # Only for what works on them: a mistake in a web server's row stops no deployment.
    if TIER_RECIPES.intersection(recipes):
        site = replace(site, tiers=tiers_on(placement, secrets))
    if is_bootstrap:
        key = public_key(key_login(known, server, environment))
        site = site_of_bootstrap(placement, site, key)
    return Orders(
        run=run,
        placement=placement,
        site=site,
        address=address_of(server, as_bootstrap=is_bootstrap, environment=environment, known=known),
        work=_work(held, site, _oldest_python(recipes, is_bootstrap)),
        is_bootstrap=is_bootstrap,
        only_looks=only_look(recipes),
        releases=releases,
        rolls_back=deployment.rolls_back,
        before=run.release_before.name if run.release_before else "",
    )


def _work(held: Shard, site: Site, oldest: tuple[int, int]) -> Work:
    """Return what the guard on a server has to know of a deployment."""
    deployment = held.deployment
    return Work(
        folder=site.tools_path,
        python=site.python,
        key=deployment.environment.key.hex,
        deployment=deployment.pk,
        begin_number=deployment.begin_number,
        token=held.token,
        who=f"{deployment.requested_by_name} ({held.holder})",
        what=str(deployment),
        oldest_python=oldest,
    )


def _oldest_python(recipes: Sequence[str], is_bootstrap: bool) -> tuple[int, int]:
    """Return the oldest Python that these recipes can do with on a server."""
    if is_bootstrap:
        return OLDEST_TO_PROVISION
    # The virtualenv that is sent needs a newer one than the guard does.
    return oldest_python() if make_virtualenv.__name__ in recipes else OLDEST_PYTHON


def only_look(recipes: Sequence[str]) -> bool:
    """Whether nothing is changed by all of them: one that changes something needs the guard."""
    try:
        return bool(recipes) and all(get_recipe(name).only_looks for name in recipes)
    except UnknownRecipe:
        return False  # it fails in its turn


def _is_bootstrap(recipes: Sequence[str]) -> bool:
    try:
        return is_as_bootstrap(recipes)
    except UnknownRecipe:
        return False  # it fails in its turn


def site_of_bootstrap(placement: Placement, site: Site, key: str) -> Site:
    """Return the site as recipes of the bootstrap user get it; `key` is the one to let in.

    Its files are in that user's home: the deploy path may not exist, and must not be root's.
    Raises as `machine_of`.
    """
    return replace(
        site,
        python=PYTHON,
        machine=machine_of(placement, site, key),
        own_tools_path=tools_of_bootstrap(placement.environment, placement.server),
    )


def site_of(
    placement: Placement,
    release: Release | None = None,
    archive: Path | None = None,
    forced_migrations: Sequence[str] = (),
    cancelled: Event | None = None,
    *,
    secrets: SiteSecrets = NO_SECRETS,
) -> Site:
    """Return what a recipe needs to know of one environment on one server.

    `release` is the one to work on; None: the one that serves. `cancelled` stops what is built
    elsewhere; without it nothing is fetched or built. Without `secrets` it has none, which is
    enough to look at. Raises InvalidRow.
    """
    environment = placement.environment
    check_row(placement)
    cache = get_settings().CACHE
    site = Site(
        environment=str(environment),
        deploy_path=placement.deploy_path,
        roles=frozenset(placement.roles),
        archive=archive,
        folder=environment.project.folder,
        python=environment.python,
        settings_module=environment.settings_module,
        variables=environment.variables,
        secret_variables=_secret_variables(environment, secrets),
        shared=tuple(environment.shared),
        migrates=environment.migrate != Environment.Migrate.NEVER,
        migrate_databases=tuple(environment.migrate_databases),
        lock_timeout=environment.lock_timeout or 0,
        keep_backups=environment.keep_backups,
        smoke_command=environment.smoke_command,
        supervisor=environment.supervisor,
        at_boot=environment.at_boot,
        procfile=environment.procfile,
        **processes_on(placement),
        reload=Reload(
            method=placement.reload_method,
            target=placement.reload_target,
            wsgi=environment.wsgi_application,
            workers=environment.workers,
            bind=placement.bind,
        ),
        health=_health(environment, placement.bind),
        keep_releases=environment.keep_releases,
        keep=frozenset({placement.active_release.name} if placement.active_release else ()),
        forced_migrations=frozenset(forced_migrations),
        cache=cache / "tools",
        installer=environment.installer,
        index_url=index_of(environment),
        wheels=environment.wheels,
        builder=_builder(environment, cancelled) if cancelled else None,
        may_fetch=cancelled is not None,
        wheels_cache=cache / "wheels",
    )
    if release is None:
        return site
    return replace(
        site,
        release=release.name,
        commit=release.commit,
        lock=release.lock.text,
        lock_digest=release.lock.digest,
        build_commands=(*release.build, *environment.build_commands),
        pins=pinned_in(release.lock.text),
        origins={pin.name: pin.url for pin in pins_in(release.lock.text) if pin.url},
    )


def _secret_variables(environment: Environment, secrets: SiteSecrets) -> dict[str, Secret]:
    """Return the variables that are secret, those of tiers among them."""
    found = {**tier_variables(environment, secrets), **secrets.variables}
    # Whatever was entered wins: a site may have its database elsewhere by now.
    return {name: value for name, value in found.items() if name not in environment.variables}


def _builder(environment: Environment, cancelled: Event) -> Builder | None:
    """Return the server that builds packages without a wheel; None: they are not built at all.

    Never the worker: a build runs a stranger's code, and this process holds the credentials.
    """
    server = environment.builder
    if server is None or environment.wheels != Environment.Wheels.SHIPPED:
        return None
    address = address_of(server, environment=environment)

    @contextmanager
    def open_builder() -> Iterator[OpenHost]:
        # A build that fails raises what it printed: its output is not kept a second time.
        with closing(open_host(address, lambda stream, data: None, cancelled)) as host:
            yield host

    return Builder(server.name, environment.python, open_builder)


def _health(environment: Environment, bind: str) -> HealthCheck:
    if not (path := environment.health_path):
        url = ""
    elif bind.startswith("unix:"):
        url = f"http://{bind}:{path}"  # written as nginx does: http://unix:/path:/uri
    else:
        host, port = bind.rsplit(":", 1)
        url = f"http://{_ANY_ADDRESS.get(host, host)}:{port}{path}"
    return HealthCheck(
        url=url,
        status=environment.health_status,
        text=environment.health_text,
        host_header=environment.health_host,
        deadline=environment.health_deadline,
    )
