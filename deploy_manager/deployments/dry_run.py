"""What a deployment would run on each server, command by command: no server and no row is touched.

The code is looked up in the repository, as for a real one; what a server would answer is not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils.translation import gettext as _

from deploy_manager.deployments.contents import find_source, make_archive
from deploy_manager.deployments.pipelines import story_for
from deploy_manager.deployments.request import Wish, choose_placements
from deploy_manager.deployments.site import site_of
from deploy_manager.deployments.waves import Planned, plan_steps
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.hosts.dry import DryHost
from deploy_manager.models import Environment, Lock, Placement, Release
from deploy_manager.recipes import Site, Story, Uses, get_recipe
from deploy_manager.row_checks import check_environment, check_release

NEW_RELEASE = "new-release"
"""The name of a release that is not made yet begins so."""


@dataclass(frozen=True)
class DryStep:
    """One recipe on one server, and the lines it would have there."""

    server: str
    stage: int
    phase: str
    heading: str
    """The phase's title, with the wave where there are several."""

    recipe: str
    title: str
    lines: tuple[str, ...]


def dry_run(environment: Environment, recipe: str, wish: Wish) -> Iterator[DryStep]:
    """Yield the steps that a request of this recipe and wish would take, stage by stage.

    Raises UnknownRecipe, RequestRefused, InvalidRow, CodeError, PinError: as the request or its
    worker would.
    """
    check_environment(environment)
    story = story_for(environment, recipe)
    placements = choose_placements(environment, wish.servers)
    planned = plan_steps(story, environment, placements).without(wish.without)
    planned = planned.without_the_way_back()
    release = _release(environment, story, wish)
    check_release(release)
    archive = _archive(environment, story, release)
    steps = [(step, each) for each, fields in planned.steps.items() for step in fields]
    for step, placement in sorted(steps, key=lambda pair: pair[0]["stage"]):
        site = site_of(placement, release, archive, wish.forced_migrations)
        yield DryStep(
            server=placement.server.name,
            stage=step["stage"],
            phase=step["phase"],
            heading=_heading(step, planned, placement),
            recipe=step["recipe"],
            title=step["title"],
            lines=_lines(step["recipe"], placement, site),
        )


def _heading(step: dict[str, Any], planned: Planned, placement: Placement) -> str:
    waves = max(planned.waves.values())
    title: str = step["phase_title"]
    if waves == 1 or not step["in_waves"]:
        return title
    return f"{title}, wave {planned.waves[placement]} of {waves}"


def _release(environment: Environment, story: Story, wish: Wish) -> Release | None:
    """The release at hand; one that is yet to be made is in no table."""
    if wish.release is not None:
        return wish.release
    match story.uses:
        case Uses.GIVEN:
            raise RequestRefused(
                _("%(recipe)s needs to be told a release.") % {"recipe": story.name}
            )
        case Uses.NEW:
            return _new_release(environment, wish.commit or wish.ref or environment.ref)
        case Uses.NEWEST:
            return environment.releases.good().select_related("lock").first()
    return None


def _new_release(environment: Environment, ref: str) -> Release:
    source = find_source(environment, ref)
    return Release(
        environment=environment,
        name=f"{NEW_RELEASE}-{source.commit.hash[:8]}",
        commit=source.commit.hash,
        lock=Lock(digest=source.digest, text=source.lock),
    )


def _archive(environment: Environment, story: Story, release: Release | None) -> Path | None:
    if release and any(recipe.uses is Uses.NEW for recipe in story.recipes):
        return make_archive(environment, release.commit)
    return None


def _lines(recipe: str, placement: Placement, site: Site) -> tuple[str, ...]:
    """Run a recipe dry. This is the border of a host: no error goes past it."""
    lines: list[str] = []
    try:
        get_recipe(recipe).function(DryHost(placement.server.name, lines.append), site)
    except DeployManagerError as error:
        lines.append(_("It would stop here: %s") % error)
    except Exception as error:
        # What a recipe makes of an empty answer is its own affair.
        lines.append(_("What follows depends on what the server answers: %s") % repr(error))
    return tuple(lines)
