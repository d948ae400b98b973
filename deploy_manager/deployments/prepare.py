"""Preparing a deployment before any server is touched: may it still run, with which release."""

import os
from dataclasses import dataclass
from pathlib import Path

from django.db.models import Exists, OuterRef, Q, prefetch_related_objects
from django.utils.translation import gettext_noop as _

from deploy_manager.addresses import address_of
from deploy_manager.credentials import Known, index_of
from deploy_manager.deployments.bad_releases import (
    describe_mark,
    find_mark,
    is_automatic,
    refuse_marked,
)
from deploy_manager.deployments.confirming import refuse_other_pins, refuse_what_changed
from deploy_manager.deployments.contents import check_code, find_contents, make_archive
from deploy_manager.deployments.foreseeing import refuse_what_would_fail
from deploy_manager.deployments.gates import refuse_what_did_not_pass
from deploy_manager.deployments.leaving import leave_out_who_left
from deploy_manager.deployments.overtaken import (
    refuse_another_model,
    refuse_to_go_back,
    refuse_what_turned_out_bad,
)
from deploy_manager.deployments.provisioning import is_as_bootstrap, refuse_to_provision
from deploy_manager.deployments.pushed import refuse_what_is_behind
from deploy_manager.deployments.request import refuse_who_may_not
from deploy_manager.exceptions import PinError, RequestRefused
from deploy_manager.hosts.identity import logins_for, open_key
from deploy_manager.logins import KeyLogin
from deploy_manager.messages import Message
from deploy_manager.models import (
    ROLLBACK_PHASE,
    Deployment,
    Environment,
    LockFile,
    Placement,
    Release,
    Shard,
    Step,
    UpgradeStage,
)
from deploy_manager.models.deployments import CONVERGE, MANAGE_SITE, ROLLBACK, right_to
from deploy_manager.models.runs import ACTIVATE
from deploy_manager.packages.downgrades import refuse_what_nobody_confirmed
from deploy_manager.packages.overrides import check_that_it_fits
from deploy_manager.packages.pins import pins_in
from deploy_manager.packages.targets import targets_of
from deploy_manager.recipes import Uses
from deploy_manager.requirements.pins import lock_digest, lock_text
from deploy_manager.row_checks import (
    check_environment,
    check_host_run,
    check_release,
    check_row,
)

TIMES = ("windows", "time_zone")
"""Fields that only say when an environment may change."""


@dataclass(frozen=True)
class Prepared:
    """The release to work on; None: the one that serves."""

    release: Release | None = None
    archive: Path | None = None
    notices: tuple[Message, ...] = ()
    """What could not be checked beforehand, for the log."""


def prepare(held: Shard) -> Prepared:
    """Resolve what a deployment sends, once for all its servers and for all later workers.

    Raises RequestRefused, InvalidRow, UnknownRecipe, CodeError, PinError, ClaimLost,
    ConfigurationError, and LeftAlone for what an automatic source does not deploy; no server was
    touched.
    """
    deployment, release = held.deployment, held.deployment.release
    notices: tuple[Message, ...] = ()
    is_rollback = _is_rollback(deployment)
    if not is_rollback:
        # Rights may have been lost since the request; a command line has no user to lose them.
        refuse_who_may_not(
            deployment.source,
            deployment.requested_by,
            deployment.requested_by_name,
            deployment.environment,
            right_to(deployment.recipe),
        )
    if deployment.stage == 0:
        # Before the checks: the row of a server that has left must not stop those that stay.
        leave_out_who_left(held)
    _check_rows(deployment, is_rollback)
    if deployment.stage == 0:
        # Later ones are compared as the orders are made: a single server may be left out then.
        refuse_what_changed(deployment)
        # Begin nothing that this code can't carry out. A recipe that goes later fails in its turn.
        # By nothing else: DISTINCT would count the columns of the default order as well.
        steps = Step.objects.filter(host_run__deployment=deployment).order_by("recipe")
        names = list(steps.values_list("recipe", flat=True).distinct())
        if is_as_bootstrap(names):
            # The row of a server, its settings and rights may have changed since the request.
            places = Placement.objects.filter(host_runs__deployment=deployment)
            refuse_to_provision(places.select_related("server"), deployment.requested_by)
        if release:
            notices = _check_given(deployment, release, is_rollback)
    if release is None:
        release, notices = _release_for(held)
    check_release(release)
    archive = None
    if release and deployment.sends_code:
        archive = make_archive(deployment.environment, release.commit)
    return Prepared(release, archive, notices)


def _check_given(
    deployment: Deployment, release: Release, is_rollback: bool
) -> tuple[Message, ...]:
    """Return what could not be checked of a release that the request names. Raises as `prepare`."""
    _refuse_what_was_overtaken(deployment, release)
    _refuse_downgrades(deployment, release)
    _refuse_what_does_not_fit(deployment, release)
    if is_rollback:
        return ()
    _refuse_what_is_bad(deployment, release)
    _check_code(deployment, release)
    # Its servers are judged together, by the first of its workers, which may have made the release.
    is_judged = (
        Uses(deployment.uses) is not Uses.GIVEN and release.created_at > deployment.created_at
    )
    begun = deployment.host_runs.filter(started_at__isnull=False)
    if deployment.recipe == ROLLBACK or is_judged or begun.exists():
        return ()
    return refuse_what_would_fail(deployment, release.lock.digest, pins_in(release.lock.text))


def prepare_again(deployment: Deployment) -> Prepared:
    """Return what a deployment sent, for a probe of its servers: nothing is sent any more.

    Raises InvalidRow.
    """
    check_environment(deployment.environment)
    check_release(deployment.release)
    # Recipes that send code want some archive, but a replay sends nothing.
    return Prepared(deployment.release, Path(os.devnull))


def _is_rollback(deployment: Deployment) -> bool:
    """Whether it returns servers from what failed: that is finished whatever rights were lost."""
    rollback = Step.objects.filter(
        host_run__deployment=deployment, phase=ROLLBACK_PHASE, stage=deployment.stage
    )
    return UpgradeStage.objects.filter(returned_by=deployment).exists() or rollback.exists()


def _check_rows(deployment: Deployment, is_rollback: bool) -> None:
    """Check the rows of all its servers before the first of them is touched.

    Later each worker checks those of its own shard (see orders_of). A rollback waits for no allowed
    times, so fields that hold some can't stop it.
    """
    check_environment(deployment.environment, without=TIMES if is_rollback else ())
    check_row(deployment, "forced_migrations")
    if deployment.recipe == MANAGE_SITE:
        check_row(deployment, "arguments")
    if deployment.stage:
        return
    # One query and a prefetch for any number of servers.
    runs = deployment.host_runs.select_related("placement__server__gateway", "release_before")
    known = Known.load()
    logins: set[KeyLogin] = set()
    for run in runs.prefetch_related("steps"):
        if run.placement:
            check_row(run.placement)
            server, site = run.placement.server, deployment.environment
            logins |= logins_for(address_of(server, environment=site, known=known))
        check_host_run(run)
    # Once each: a command may have to be asked for it.
    for login in logins:
        open_key(login)


def _refuse_what_was_overtaken(deployment: Deployment, release: Release) -> None:
    if deployment.recipe == CONVERGE:
        refuse_another_model(deployment, release)
    # A release that is younger was made for this request by a worker before, which had checked.
    if release.created_at <= deployment.created_at or Uses(deployment.uses) is Uses.GIVEN:
        refuse_to_go_back(deployment, release)


def _refuse_what_is_bad(deployment: Deployment, release: Release) -> None:
    if release.bad_since and is_automatic(deployment):
        raise RequestRefused(_("Not done: %(mark)s"), mark=describe_mark(release))
    refuse_what_turned_out_bad(deployment, release.commit, release.lock.digest, release)


def _check_code(deployment: Deployment, release: Release) -> None:
    if deployment.sends_code:
        check_code(deployment.environment, release.commit)


def _refuse_what_does_not_fit(deployment: Deployment, release: Release) -> None:
    """Raise PinError if an upgrade's return puts pins on a commit that never had them, in vain."""
    returned = UpgradeStage.objects.filter(returned_by=deployment)
    stage = returned.select_related("release_before").first()
    if stage is None or deployment.recipe == ROLLBACK:
        return
    # Not the stage's lock: that changes if an upgrade before it is taken back, too.
    if stage.release_before and stage.release_before.lock_id == release.lock_id:
        return
    from deploy_manager.requirements.fitting import check_fit

    environment = deployment.environment
    try:
        check_fit(pins_in(release.lock.text), targets_of(environment), index_of(environment))
    except PinError as error:
        raise PinError(
            _(
                "The pins from before the upgrade do not fit the code that serves by now, so they"
                " were not returned: %(reason)s\nDeploy a commit with the pins that you want."
            ),
            reason=error,
        ) from None


def _refuse_downgrades(deployment: Deployment, release: Release) -> None:
    """Raise RequestRefused if switching to a release takes back more than was confirmed."""
    steps = Step.objects.filter(host_run__deployment=deployment)
    if steps.filter(recipe=ACTIVATE).exists():
        refuse_what_nobody_confirmed(deployment, pins_in(release.lock.text))


def _release_for(held: Shard) -> tuple[Release | None, tuple[Message, ...]]:
    """Return the release to work on, and write it down for the workers that come after.

    With it comes what could not be checked beforehand.
    """
    deployment = held.deployment
    match Uses(deployment.uses):
        case Uses.NEW:
            release, notices = _new_release(deployment)
        case Uses.NEWEST:
            release = _newest_release(deployment)
            _refuse_what_is_bad(deployment, release)
            _refuse_downgrades(deployment, release)
            pins = pins_in(release.lock.text)
            notices = refuse_what_would_fail(deployment, release.lock.digest, pins)
        case Uses.GIVEN:
            raise RequestRefused(
                _("%(recipe)s needs a release: name one."), recipe=deployment.recipe
            )
        case Uses.CURRENT:
            return None, ()
    held.set_prepared(release.commit, release)
    return release, notices


def _new_release(deployment: Deployment) -> tuple[Release, tuple[Message, ...]]:
    environment = deployment.environment
    # Once: what is installed is what is compared.
    prefetch_related_objects([environment], "requirements")
    contents = find_contents(environment, deployment.commit or deployment.ref)
    refuse_what_did_not_pass(deployment, contents.commit.hash)
    # Again, as fetching took its time: the pins are fixed from here on.
    refuse_other_pins(deployment)
    refuse_what_is_behind(deployment, contents.commit.hash)
    # The environment's own branch is resolved only now: its newest commit takes nothing back.
    if deployment.commit or deployment.ref != environment.ref:
        refuse_to_go_back(deployment, None, contents.commit.hash)
    if is_automatic(deployment):
        refuse_marked(environment, contents.commit.hash, contents.digest)
    refuse_what_turned_out_bad(deployment, contents.commit.hash, contents.digest)
    refuse_what_nobody_confirmed(deployment, contents.pins)
    # These ask the index, so they come after the rest.
    check_that_it_fits(environment, contents.laid)
    notices = refuse_what_would_fail(deployment, contents.digest, contents.pins)
    lock = LockFile.objects.of(contents.digest, contents.lock)
    repository_lock = None
    if environment.pins_from == Environment.PinsFrom.COMMIT:
        text = lock_text(contents.repository)
        repository_lock = LockFile.objects.of(lock_digest(text), text)
    subject = contents.commit.subject[:300]  # as long as the field
    made = Release.objects.make(
        environment,
        contents.commit.hash,
        subject,
        lock,
        repository_lock,
        build=list(contents.build),
    )
    return made, notices


def _newest_release(deployment: Deployment) -> Release:
    # What waits to be promoted, or never was, is on no server.
    mine = Deployment.objects.filter(environment=deployment.environment_id, release=OuterRef("pk"))
    promoted, begun = mine.exclude(promotes=None), mine.filter(started_at__isnull=False)
    known = deployment.environment.releases.select_related("lock")
    known = known.exclude(Exists(promoted) & ~Exists(begun))
    if is_automatic(deployment):
        # A release that is not marked may have the commit and the pins of one that is.
        unmarked = (
            each
            for each in known.good()
            if not find_mark(each.environment, each.commit, each.lock.digest)
        )
        release = next(unmarked, None)
    else:
        # What was the newest at the time of the request was meant. If it was marked since, that is
        # said: no older one takes its place unseen.
        asked = deployment.created_at
        meant = Q(bad_since=None) | Q(bad_since__gt=asked, created_at__lte=asked)
        release = known.filter(meant).first()
    if release is None:
        raise RequestRefused(
            _("%(environment)s has no release yet: run checkout_latest or deploy first."),
            environment=deployment.environment,
        )
    return release
