"""What the worker does before any server: may this still run, and with which code and pins."""

from dataclasses import dataclass
from pathlib import Path

from deploy_manager.exceptions import ClaimLost, RequestRefused
from deploy_manager.models import Deployment, Lock, Release
from deploy_manager.recipes import Story, Uses, get_story
from deploy_manager.requirements import Pin
from deploy_manager.runner.request import may_deploy
from deploy_manager.runner.source import Source, find_source, make_archive


@dataclass(frozen=True)
class Prepared:
    """The story to run and the release at hand; None: the one that serves."""

    story: Story
    release: Release | None = None
    archive: Path | None = None
    pins: tuple[Pin, ...] = ()


def prepare(deployment: Deployment) -> Prepared:
    """Resolve what a deployment sends, once for all of its servers.

    Raises RequestRefused, UnknownRecipe, CodeError, PinError, ClaimLost; no server was touched.
    """
    _check_again_who_may(deployment)
    story = get_story(deployment.recipe)
    if story.uses is Uses.NEW:
        return _with_a_new_release(deployment, story)
    if story.uses is Uses.NEWEST:
        return Prepared(story, _newest_release(deployment))
    return Prepared(story)


def _check_again_who_may(deployment: Deployment) -> None:
    """What a person was allowed at the click may be forbidden by now; a command line has none."""
    if deployment.door != "admin":
        return
    user = deployment.requested_by
    if user is None or not may_deploy(user, deployment.environment):
        raise RequestRefused(
            f"{deployment.requested_as} may not deploy {deployment.environment} any more."
        )


def _with_a_new_release(deployment: Deployment, story: Story) -> Prepared:
    source = find_source(deployment.environment, deployment.commit or deployment.ref)
    archive = make_archive(deployment.environment, source.commit.hash)
    release = _make_release(deployment, source)
    _note(deployment, release)
    return Prepared(story, release, archive, source.pins)


def _note(deployment: Deployment, release: Release) -> None:
    """Write what will run. Who lost the claim while git was at work goes no further."""
    if not deployment.set_prepared(release.commit, release):
        raise ClaimLost


def _make_release(deployment: Deployment, source: Source) -> Release:
    lock = Lock.objects.of(source.digest, source.lock)
    subject = source.commit.subject[:300]
    return Release.objects.make(deployment.environment, source.commit.hash, subject, lock)


def _newest_release(deployment: Deployment) -> Release:
    release = deployment.environment.releases.select_related("lock").first()
    if release is None:
        raise RequestRefused(
            f"{deployment.environment} has no release yet: run checkout_latest or deploy first."
        )
    _note(deployment, release)
    return release
