"""What the worker does before any server: may this still run, and with which code and pins."""

import os
from dataclasses import dataclass
from pathlib import Path

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Lock, Release, Slice, Step
from deploy_manager.models.rights import may_deploy
from deploy_manager.recipes import Uses, get_recipe
from deploy_manager.requirements import lock_digest, lock_text
from deploy_manager.runner.pins import pins_in
from deploy_manager.runner.source import Source, find_source, make_archive, prove
from deploy_manager.runner.stories import ACTIVATE
from deploy_manager.runner.taking_back import refuse_what_nobody_confirmed


@dataclass(frozen=True)
class Prepared:
    """The release at hand; None: the one that serves."""

    release: Release | None = None
    archive: Path | None = None


def prepare(held: Slice) -> Prepared:
    """Resolve what a deployment sends, once for all of its servers and for whoever takes it over.

    Raises RequestRefused, UnknownRecipe, CodeError, PinError, ClaimLost; no server was touched.
    """
    deployment = held.deployment
    _check_again_who_may(deployment)
    if deployment.stage == 0:
        _check_recipes(deployment)
    if deployment.release and deployment.stage == 0:
        _check_what_is_taken_back(deployment, deployment.release)
    release = deployment.release or _release_for(held)
    archive = None
    if release and deployment.sends_code:
        archive = make_archive(deployment.environment, release.commit)
    return Prepared(release, archive)


def prepare_again(deployment: Deployment) -> Prepared:
    """Return what a deployment sent, for looking back: nothing is sent any more."""
    return Prepared(deployment.release, Path(os.devnull))


def _check_again_who_may(deployment: Deployment) -> None:
    """What a person was allowed at the click may be forbidden by now; a command line has none."""
    if deployment.door != "admin":
        return
    user = deployment.requested_by
    if user is None or not may_deploy(user, deployment.environment):
        raise RequestRefused(
            f"{deployment.requested_as} may not deploy {deployment.environment} any more."
        )


def _check_recipes(deployment: Deployment) -> None:
    """Begin nothing that this code can't carry out. Later a recipe that is gone fails in its turn.

    Raises UnknownRecipe.
    """
    steps = Step.objects.filter(host_run__deployment=deployment).order_by("recipe")
    for name in steps.values_list("recipe", flat=True).distinct():
        get_recipe(name)


def _check_what_is_taken_back(deployment: Deployment, release: Release) -> None:
    """Switch to no release that takes back more than was confirmed. Raises RequestRefused."""
    steps = Step.objects.filter(host_run__deployment=deployment)
    if steps.filter(recipe=ACTIVATE).exists():
        refuse_what_nobody_confirmed(deployment, pins_in(release.lock.text))


def _release_for(held: Slice) -> Release | None:
    """Return the release that it works on, and write it down for all who come after."""
    deployment = held.deployment
    match Uses(deployment.uses):
        case Uses.NEW:
            source = find_source(deployment.environment, _ref(deployment))
            refuse_what_nobody_confirmed(deployment, source.pins)
            prove(deployment.environment, source)
            release = _make_release(deployment, source)
        case Uses.NEWEST:
            release = _newest_release(deployment)
            _check_what_is_taken_back(deployment, release)
        case Uses.GIVEN:
            raise RequestRefused(f"{deployment.recipe} needs to be told a release.")
        case Uses.CURRENT:
            return None
    held.set_prepared(release.commit, release)
    return release


def _ref(deployment: Deployment) -> str:
    return deployment.commit or deployment.ref


def _make_release(deployment: Deployment, source: Source) -> Release:
    environment, subject = deployment.environment, source.commit.subject[:300]
    lock = Lock.objects.of(source.digest, source.lock)
    return Release.objects.make(
        environment, source.commit.hash, subject, lock, _repository_lock(environment, source)
    )


def _repository_lock(environment: Environment, source: Source) -> Lock | None:
    """What the commit itself pins; none where the environment lists its own."""
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return None
    text = lock_text(source.repository)
    return Lock.objects.of(lock_digest(text), text)


def _newest_release(deployment: Deployment) -> Release:
    release = deployment.environment.releases.good().select_related("lock").first()
    if release is None:
        raise RequestRefused(
            f"{deployment.environment} has no release yet: run checkout_latest or deploy first."
        )
    return release
