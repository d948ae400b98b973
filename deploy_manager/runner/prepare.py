"""What the worker does before any server: may this still run, and with which code and pins."""

import os
from dataclasses import dataclass
from pathlib import Path

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import Deployment, Environment, Lock, Release, Slice, Step
from deploy_manager.models.rights import may_deploy
from deploy_manager.recipes import Uses, get_recipe
from deploy_manager.requirements import lock_digest, lock_text
from deploy_manager.runner.address import address_of
from deploy_manager.runner.checking import (
    check_environment,
    check_host_run,
    check_release,
    check_row,
)
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

    Raises RequestRefused, InvalidRow, UnknownRecipe, CodeError, PinError, ClaimLost,
    ConfigurationError; no server was touched.
    """
    deployment = held.deployment
    _check_again_who_may(deployment)
    _check_rows(deployment)
    if deployment.stage == 0:
        _check_recipes(deployment)
    if deployment.release and deployment.stage == 0:
        _check_what_is_taken_back(deployment, deployment.release)
    release = deployment.release or _release_for(held)
    check_release(release)
    archive = None
    if release and deployment.sends_code:
        archive = make_archive(deployment.environment, release.commit)
    return Prepared(release, archive)


def prepare_again(deployment: Deployment) -> Prepared:
    """Return what a deployment sent, for looking back: nothing is sent any more.

    Raises InvalidRow.
    """
    check_environment(deployment.environment)
    check_release(deployment.release)
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


def _check_rows(deployment: Deployment) -> None:
    """Look at the rows of all its servers before the first of them is touched.

    Later each worker looks at those of its own (see orders_of).
    """
    check_environment(deployment.environment)
    check_row(deployment, "forced_migrations")
    if deployment.stage:
        return
    runs = deployment.host_runs.select_related("placement__server__gateway", "release_before")
    for run in runs.prefetch_related("steps"):
        if run.placement:
            check_row(run.placement)
            address_of(run.placement.server)
        check_host_run(run)


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
