"""Dry runs: the commands a deployment would run on each server; no server or row is touched.

The code is looked up in the repository, as for a real one; a server's answers are not known.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.contents import find_contents, make_archive
from deploy_manager.deployments.orders import site_of, site_of_bootstrap
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.deployments.request import DeploymentOptions, choose_placements
from deploy_manager.deployments.site_commands import refuse_unfit_arguments
from deploy_manager.deployments.waves import Planned, plan_steps
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.hosts.dry import DryHost
from deploy_manager.logs import mask_text
from deploy_manager.masking import masking
from deploy_manager.models import Environment, LockFile, Placement, Release
from deploy_manager.recipes import Pipeline, Site, Uses, get_recipe
from deploy_manager.row_checks import check_environment, check_release
from deploy_manager.sealing import Secret
from deploy_manager.site_secrets import known_secrets, unopened_secrets

NEW_RELEASE = "new-release"
"""The beginning of the name of a release that does not exist yet."""


@dataclass(frozen=True)
class DryStep:
    """One recipe on one server, and the lines that show what it would do there."""

    server: str
    stage: int
    phase: str
    heading: str
    """The phase's title, with the wave if there are several."""

    recipe: str
    title: str
    lines: tuple[str, ...]


def dry_run(environment: Environment, recipe: str, options: DeploymentOptions) -> Iterator[DryStep]:
    """Yield the steps that a request of this recipe with these options would take, stage by stage.

    Raises UnknownRecipe, RequestRefused, InvalidRow, CodeError, PinError: as the request or its
    worker would.
    """
    check_environment(environment)
    # It needs no values. To mask them in commands they are opened where that is possible.
    secrets, hidden = unopened_secrets(environment), known_secrets(environment)
    pipeline = pipeline_for(environment, recipe)
    placements = choose_placements(environment, options.servers)
    planned = plan_steps(pipeline, environment, placements).without(options.without)
    planned = planned.without_rollback()
    refuse_unfit_arguments(pipeline.name, options.arguments, options.servers, planned.steps)
    release = _release(environment, pipeline, options)
    check_release(release)
    archive = None
    if release and any(each.uses is Uses.NEW for each in pipeline.recipes):
        archive = make_archive(environment, release.commit)
    steps = [(step, each) for each, fields in planned.steps.items() for step in fields]
    # Stable: within a stage each server's steps stay in their order.
    for step, placement in sorted(steps, key=lambda pair: pair[0]["stage"]):
        site = site_of(placement, release, archive, options.forced_migrations, secrets=secrets)
        site = replace(site, arguments=tuple(options.arguments))
        if get_recipe(step["recipe"]).as_bootstrap:
            site = site_of_bootstrap(placement, site, "")
        yield DryStep(
            server=placement.server.name,
            stage=step["stage"],
            phase=step["phase"],
            heading=_heading(step, planned, placement),
            recipe=step["recipe"],
            title=step["title"],
            lines=_lines(step["recipe"], placement, site, hidden),
        )


def _heading(step: dict[str, Any], planned: Planned, placement: Placement) -> str:
    waves = max(planned.waves.values())
    title: str = step["phase_title"]
    if waves == 1 or not step["in_waves"]:
        return title
    return f"{title}, wave {planned.waves[placement]} of {waves}"


def _release(
    environment: Environment, pipeline: Pipeline, options: DeploymentOptions
) -> Release | None:
    """The release to work on; one that does not exist yet is not saved."""
    if options.release is not None:
        return options.release
    if (promotes := options.promotes) is not None:
        return Release(
            environment=environment,
            name=f"{NEW_RELEASE}-{promotes.commit[:8]}",
            commit=promotes.commit,
            lock=promotes.lock,
            build=promotes.build,
        )
    match pipeline.uses:
        case Uses.GIVEN:
            raise RequestRefused(_("%(recipe)s needs a release: name one."), recipe=pipeline.name)
        case Uses.NEW:
            ref = options.commit or options.ref or environment.ref
            contents = find_contents(environment, ref)
            return Release(
                environment=environment,
                name=f"{NEW_RELEASE}-{contents.commit.hash[:8]}",
                commit=contents.commit.hash,
                lock=LockFile(digest=contents.digest, text=contents.lock),
                build=list(contents.build),
            )
        case Uses.NEWEST:
            return environment.releases.good().select_related("lock").first()
    return None


def _lines(
    recipe: str, placement: Placement, site: Site, hidden: Iterable[Secret]
) -> tuple[str, ...]:
    """Run a recipe dry, with these masked. This is the border of a host: no error goes past it."""
    lines: list[str] = []
    with masking(hidden):
        _run_dry(recipe, DryHost(placement.server.name, lines.append), site, lines)
    return tuple(lines)


def _run_dry(recipe: str, host: DryHost, site: Site, lines: list[str]) -> None:
    try:
        get_recipe(recipe).function(host, site)
    except DeployManagerError as error:
        lines.append(gettext("It would stop here: %s") % mask_text(str(error)))
    except Exception as error:
        # Every answer is empty here, and a recipe may raise anything when it reads one.
        why = mask_text(repr(error))
        lines.append(gettext("The rest depends on the server's answers: %s") % why)
