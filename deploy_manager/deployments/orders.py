"""From the rows of a shard to what the work on each of its hosts needs to know."""

from threading import Event

from django.db.models import QuerySet

from deploy_manager.addresses import address_of
from deploy_manager.deployments.host_work import Orders
from deploy_manager.deployments.prepare import Prepared
from deploy_manager.deployments.site import site_of
from deploy_manager.exceptions import DeployManagerError
from deploy_manager.hosts.guard_line import Work
from deploy_manager.models import HostRun, Placement, Shard
from deploy_manager.recipes.environments import make_virtualenv
from deploy_manager.recipes.host import OLDEST_PYTHON
from deploy_manager.recipes.packing import oldest_python
from deploy_manager.row_checks import check_host_run


def orders_of(held: Shard, prepared: Prepared, cancelled: Event) -> list[Orders]:
    """Return the orders for each host of a shard; what they build elsewhere ends once `cancelled`.

    Raises DeployManagerError, ConfigurationError, InvalidRow; no server was touched.
    """
    environment = held.deployment.environment
    releases = dict(environment.releases.values_list("name", "pk"))
    runs = _with_places(held.host_runs.all())
    return [_orders(run, held, prepared, releases, cancelled) for run in runs]


def orders_for(host_run_id: int, prepared: Prepared) -> Orders:
    """Return the orders of one host of a deployment that may have ended."""
    run = _with_places(HostRun.objects.filter(pk=host_run_id)).get()
    held = Shard.objects.select_related("deployment__environment__project").get(pk=run.shard_id)
    return _orders(run, held, prepared, {})


def _with_places(runs: QuerySet[HostRun]) -> QuerySet[HostRun]:
    return runs.select_related(
        "placement__server__gateway", "placement__active_release", "release_before"
    ).prefetch_related("steps")


def _orders(
    run: HostRun,
    held: Shard,
    prepared: Prepared,
    releases: dict[str, int],
    cancelled: Event | None = None,
) -> Orders:
    placement = run.placement
    if placement is None:
        raise DeployManagerError(f"{run.server_name} was taken out of the environment.")
    check_host_run(run)
    placement.environment = held.deployment.environment
    forced = held.deployment.forced_migrations
    site = site_of(placement, prepared.release, prepared.archive, forced, cancelled)
    return Orders(
        run=run,
        placement=placement,
        site=site,
        address=address_of(placement.server),
        work=_work(run, placement, held, site.tools_path),
        releases=releases,
        rolls_back=held.deployment.rolls_back,
        before=run.release_before.name if run.release_before else "",
    )


def _work(run: HostRun, placement: Placement, held: Shard, folder: str) -> Work:
    deployment = held.deployment
    makes_environment = any(step.recipe == make_virtualenv.__name__ for step in run.steps.all())
    return Work(
        folder=folder,
        python=placement.environment.python,
        key=placement.environment.key.hex,
        deployment=deployment.pk,
        token=held.token,
        who=f"{deployment.requested_by_name} ({held.holder})",
        what=str(deployment),
        oldest_python=oldest_python() if makes_environment else OLDEST_PYTHON,
    )
