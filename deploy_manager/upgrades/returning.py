"""What an environment returns to if its upgrade is rolled back, and what becomes of its list."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext_noop as _

from deploy_manager.deployments.bad_releases import describe_mark
from deploy_manager.exceptions import DeployManagerError, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Placement,
    Release,
    UpgradeStage,
)
from deploy_manager.models.deployments import ROLLBACK, UPGRADE
from deploy_manager.packages.downgrades import ChangedPin, changed_pins, confirmed_in
from deploy_manager.packages.overrides import lay_over
from deploy_manager.packages.pins import checked_pins_of, replace_pins
from deploy_manager.requirements.pins import Pin, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.replacing import replace_moved, with_pins_of
from deploy_manager.upgrades.later import installed_anew, listed_before, moves_of
from deploy_manager.upgrades.overriding import return_overrides
from deploy_manager.upgrades.proofs import may_serve_unseen

LIST_KEPT = _(
    "Its list of pins was changed since the upgrade was requested, and stays as it is there:"
    " %(pins)s."
)
INSTALLED_ANEW = _("A later upgrade has installed the same there, which stays: %(pins)s.")
LIST_UNREADABLE = Message(_("Its list of pins can't be read, so it stays as it is."))


@dataclass(frozen=True)
class Return:
    """The deployment that takes an upgrade back: its recipe, and the release it goes to."""

    recipe: str
    release: Release
    servers: Sequence[str]
    """Those that are known to serve something; what others have nobody knows."""

    take_back: Sequence[Mapping[str, str]] = ()

    def is_done_by(self, deployment: Deployment) -> bool:
        """Whether a deployment that was requested before is still the right one."""
        release, runs = deployment.release, deployment.host_runs.exclude(placement=None)
        return (
            release is not None
            and (deployment.recipe, release.commit, release.lock_id)
            == (self.recipe, self.release.commit, self.release.lock_id)
            and set(runs.values_list("server_name", flat=True)) == set(self.servers)
            # An advisory may have come since: a retry may take back only what was agreed to.
            and confirmed_in(list(self.take_back)) <= confirmed_in(deployment.take_back)
        )


def plan_return(stage: UpgradeStage) -> Return | None:
    """Return how an environment is brought back; None if nothing of the upgrade serves any more.

    The release that served before comes back as a whole, unless people have deployed another one
    since, or upgrades before or after this one have changed what it has to go back to: then the
    code that serves stays, and only the pins are returned. Writes that release.
    Raises PinError and RequestRefused if that is not possible, and if it was marked as bad since.
    """
    way = _plan(stage)
    if way is not None:
        _refuse_what_was_marked(stage, way.release)
    return way


def _plan(stage: UpgradeStage) -> Return | None:
    placements = list(
        stage.environment.placements.select_related("active_release__lock", "server").exclude(
            active_release=None
        )
    )
    serving = {each.active_release for each in placements if each.active_release}
    before = stage.release_before
    brought = stage.deployment.release if stage.deployment else None
    if brought and stage.deployment and may_serve_unseen(stage.deployment).exists():
        serving.add(brought)
    # Or nothing serves: the empty set is in every other.
    if serving <= {before}:
        return None
    if before and serving <= {before, brought} and _returns_wholly(stage, before):
        return _return_to(before, stage.environment, placements)
    if len(serving) > 1:
        raise RequestRefused(
            _(
                "It was not rolled back: since the upgrade, other releases were deployed, and its"
                " servers serve different ones: %(releases)s. Deploy one to all of them, with the"
                " pins that you want."
            ),
            releases=", ".join(sorted(each.name for each in serving)),
        )
    return _return_of_pins(stage, serving.pop(), placements)


def _returns_wholly(stage: UpgradeStage, before: Release) -> bool:
    """Whether nothing of the release before, or of the one after, is another upgrade's matter."""
    return before.lock_id == stage.lock_before_id and not installed_anew(stage)


def _refuse_what_was_marked(stage: UpgradeStage, release: Release) -> None:
    """Raise RequestRefused if a release was marked as bad since the upgrade was requested.

    Nobody chooses it here. If it was marked before, it served all the same, and comes back.
    """
    marked = Release.objects.filter(
        environment=stage.environment_id,
        commit=release.commit,
        lock=release.lock_id,
        bad_since__gt=stage.upgrade.created_at,
    ).first()
    if marked:
        raise RequestRefused(_("It was not rolled back: %(mark)s"), mark=describe_mark(marked))


def _return_to(
    before: Release, environment: Environment, placements: Sequence[Placement]
) -> Return:
    """Return the way to a release: a rollback, or its code and pins sent anew.

    A server may not have it: it joined since, or its clean-up has removed it.
    """
    servers = [each.server.name for each in placements]
    if all(before.name in each.complete for each in placements):
        return Return(ROLLBACK, before, servers)
    changes = changed_pins(environment, read_pins(before.lock.text), placements)
    return Return(UPGRADE, before, servers, _taken_back(changes))


def _taken_back(changes: Iterable[ChangedPin]) -> list[dict[str, str]]:
    return [each.as_json() for each in changes if each.is_taken_back]


def _return_of_pins(
    stage: UpgradeStage, serving: Release, placements: Sequence[Placement]
) -> Return | None:
    """Return the way to the pins without the upgrade, on the code that serves."""
    pins = _pins_without(stage, serving)
    text = lock_text(pins)
    digest = lock_digest(text)
    if digest == serving.lock.digest:
        return None
    changes = changed_pins(stage.environment, pins, placements)
    release = Release.objects.make(
        stage.environment,
        serving.commit,
        serving.subject,
        LockFile.objects.of(digest, text),
        serving.repository_lock,
        build=serving.build,
    )
    servers = [each.server.name for each in placements]
    return Return(UPGRADE, release, servers, _taken_back(changes))


def _pins_without(stage: UpgradeStage, serving: Release) -> tuple[Pin, ...]:
    """Return the pins that serve, without those that the upgrade brought and that still do."""
    served = read_pins(serving.lock.text)
    before, after = read_pins(stage.lock_before.text), read_pins(stage.lock_after.text)
    moved = {move.name for move in moves_of(stage)} - installed_anew(stage).keys()
    back = replace_moved(served, after, before, moved)
    own = _pins_of_its_own(stage, serving)
    return back.pins if own is None else with_pins_of(served, own, back.found)


def _pins_of_its_own(stage: UpgradeStage, serving: Release) -> tuple[Pin, ...] | None:
    """Return what the next deployment of the commit that serves installs without the upgrade.

    None: the environment lists its pins, or those of the repository are not known.
    """
    is_commit = stage.environment.pins_from == Environment.PinsFrom.COMMIT
    if not is_commit or serving.repository_lock is None:
        return None
    repository = read_pins(serving.repository_lock.text)
    with transaction.atomic():
        # Tried, to see what is left; they are returned once the servers are.
        return_overrides(stage)
        laid = lay_over(stage.environment, repository)
        transaction.set_rollback(True)
    return laid.pins


def list_upgraded(stage: UpgradeStage) -> Message:
    """List the pins of a stage that succeeded; return which were not, as people changed them.

    Pins from a commit stay what the repository says: an override holds what moved.
    """
    return _replace_listed(stage, listed_before(stage), stage.lock_after)


def list_returned(stage: UpgradeStage) -> Message:
    """List again what the upgrade had replaced; return what it did not, as others changed it."""
    anew = installed_anew(stage)
    kept = _replace_listed(stage, stage.lock_after, listed_before(stage), without=anew)
    if not anew:
        return kept
    pins = ", ".join(f"{name} {version or '-'}" for name, version in sorted(anew.items()))
    return Message.lines(*filter(None, (Message(INSTALLED_ANEW, pins=pins), kept)))


def _replace_listed(
    stage: UpgradeStage, old: LockFile, new: LockFile, without: Collection[str] = ()
) -> Message:
    """Replace the listed pins that differ between two locks, but for what others have changed.

    Call it in a transaction. Returns which were left as they are, or why the whole list was.
    """
    environment = stage.environment
    # Locked: a list that is imported meanwhile is either read here, or written after this one.
    # SQLite ignores it, and needs none: its IMMEDIATE transactions write one after the other.
    rows = Environment.objects.select_for_update().filter(pk=environment.pk)
    if rows.get().pins_from != Environment.PinsFrom.ROWS:
        return Message()
    try:
        # Read back, as a plan does it: rows may spell the same pins in another way.
        listed = read_pins(lock_text(checked_pins_of(environment)))
    except DeployManagerError:
        return LIST_UNREADABLE  # people have to look at it
    before, after = read_pins(old.text), read_pins(new.text)
    if not listed:
        listed = before
    moved = {change.name for change in compare_pins(before, after)}.difference(without)
    replaced = replace_moved(listed, before, after, moved)
    replace_pins(environment, replaced.pins)
    if not replaced.left:
        return Message()
    return Message(LIST_KEPT, pins=", ".join(_describe_listed(listed, sorted(replaced.left))))


def _describe_listed(pins: Sequence[Pin], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        versions = sorted({pin.version for pin in pins if pin.name == name})
        yield f"{name} {', '.join(versions) or '-'}"
