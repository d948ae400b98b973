"""What the worker does before any server: may this still run, and with which code and pins."""

import os
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation import gettext as _

from deploy_manager.addresses import address_of
from deploy_manager.deployments.bad_releases import (
    describe_mark,
    find_mark,
    is_automatic,
    refuse_marked,
)
from deploy_manager.deployments.contents import Contents, find_contents, make_archive, prove
from deploy_manager.deployments.request import refuse_who_may_not
from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import (
    ROLLBACK_PHASE,
    Deployment,
    Environment,
    LockFile,
    Release,
    Shard,
    Step,
    UpgradeStage,
)
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.packages.downgrades import refuse_what_nobody_confirmed
from deploy_manager.packages.pins import pins_in
from deploy_manager.recipes import Uses, get_recipe
from deploy_manager.requirements.pins import lock_digest, lock_text
from deploy_manager.row_checks import (
    check_environment,
    check_host_run,
    check_release,
    check_row,
)

TIMES = ("windows", "time_zone")
"""Fields that say when an environment may change, and nothing else."""


@dataclass(frozen=True)
class Prepared:
    """The release at hand; None: the one that serves."""

    release: Release | None = None
    archive: Path | None = None


def prepare(held: Shard) -> Prepared:
    """Resolve what a deployment sends, once for all of its servers and for whoever takes it over.

    Raises RequestRefused, InvalidRow, UnknownRecipe, CodeError, PinError, ClaimLost,
    ConfigurationError, and LeftAlone for what an automatic source does not take; no server was
    touched.
    """
    deployment = held.deployment
    goes_back = _goes_back(deployment)
    if not goes_back:
        _check_again_who_may(deployment)
    _check_rows(deployment, goes_back)
    if deployment.stage == 0:
        _check_recipes(deployment)
    if deployment.release and deployment.stage == 0:
        _check_what_is_taken_back(deployment, deployment.release)
        if not goes_back:
            _check_mark(deployment, deployment.release)
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
    refuse_who_may_not(
        deployment.source,
        deployment.requested_by,
        deployment.requested_by_name,
        deployment.environment,
    )


def _goes_back(deployment: Deployment) -> bool:
    """Whether it brings servers back from what failed: that is finished, whoever may do what."""
    rollback = Step.objects.filter(
        host_run__deployment=deployment, phase=ROLLBACK_PHASE, stage=deployment.stage
    )
    return UpgradeStage.objects.filter(returned_by=deployment).exists() or rollback.exists()


def _check_mark(deployment: Deployment, release: Release) -> None:
    """What was marked as bad while it waited is begun by nobody but a person."""
    if release.bad_since and is_automatic(deployment):
        raise RequestRefused(_("Not done: %(mark)s") % {"mark": describe_mark(release)})


def _check_rows(deployment: Deployment, goes_back: bool) -> None:
    """Look at the rows of all its servers before the first of them is touched.

    Later each worker looks at those of its own (see orders_of). What goes back waits for no times,
    so it is not held up by any.
    """
    check_environment(deployment.environment, without=TIMES if goes_back else ())
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


def _release_for(held: Shard) -> Release | None:
    """Return the release that it works on, and write it down for all who come after."""
    deployment = held.deployment
    match Uses(deployment.uses):
        case Uses.NEW:
            contents = find_contents(deployment.environment, _ref(deployment))
            if is_automatic(deployment):
                refuse_marked(deployment.environment, contents.commit.hash, contents.digest)
            refuse_what_nobody_confirmed(deployment, contents.pins)
            prove(deployment.environment, contents)
            release = _make_release(deployment, contents)
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


def _make_release(deployment: Deployment, contents: Contents) -> Release:
    environment, subject = deployment.environment, contents.commit.subject[:300]
    lock = LockFile.objects.of(contents.digest, contents.lock)
    return Release.objects.make(
        environment, contents.commit.hash, subject, lock, _repository_lock(environment, contents)
    )


def _repository_lock(environment: Environment, contents: Contents) -> LockFile | None:
    """What the commit itself pins; none where the environment lists its own."""
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return None
    text = lock_text(contents.repository)
    return LockFile.objects.of(lock_digest(text), text)


def _newest_release(deployment: Deployment) -> Release:
    known = deployment.environment.releases.good().select_related("lock")
    if is_automatic(deployment):
        # The same commit and pins may stand in a release beside the one that was marked.
        unmarked = (
            each for each in known if not find_mark(each.environment, each.commit, each.lock.digest)
        )
        release = next(unmarked, None)
    else:
        release = known.first()
    if release is None:
        raise RequestRefused(
            f"{deployment.environment} has no release yet: run checkout_latest or deploy first."
        )
    return release
