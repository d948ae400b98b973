"""What an environment returns to if its upgrade is rolled back, and what becomes of its list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.db import transaction
from django.utils.translation import gettext_noop as _

from deploy_manager.exceptions import DeployManagerError, PinError, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import Environment, LockFile, Placement, Release, UpgradeStage
from deploy_manager.models.deployments import ROLLBACK, UPGRADE
from deploy_manager.packages.downgrades import changed_pins
from deploy_manager.packages.overrides import lay_over
from deploy_manager.packages.pins import checked_pins_of, replace_pins
from deploy_manager.requirements.pins import Pin, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.reading import read_pins
from deploy_manager.upgrades.overriding import refuse_to_take_back_others, return_overrides

LIST_KEPT = Message(
    _("Its list of pins was changed since the upgrade was requested, so it stays as it is.")
)


@dataclass(frozen=True)
class Return:
    """The deployment that takes an upgrade back: its recipe, and the release it goes to."""

    recipe: str
    release: Release
    take_back: Sequence[Mapping[str, str]] = ()


def plan_return(stage: UpgradeStage) -> Return | None:
    """Return how an environment is brought back; None if nothing of the upgrade serves any more.

    The release that served before comes back as a whole, unless people have deployed another one
    since: then its code stays, and only the pins are returned. Writes that release. Raises PinError
    and RequestRefused if that is not possible.
    """
    placements = list(
        stage.environment.placements.select_related("active_release__lock").exclude(
            active_release=None
        )
    )
    refuse_to_take_back_others(stage, stage.lock_before.text)
    own = {stage.release_before_id, stage.deployment.release_id if stage.deployment else None}
    if all(each.active_release_id in own for each in placements):
        if stage.release_before is None:
            raise PinError(_("The release that served before was deleted."))
        return Return(ROLLBACK, stage.release_before)
    serving = {each.active_release for each in placements if each.active_release}
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


def _return_of_pins(
    stage: UpgradeStage, serving: Release, placements: Sequence[Placement]
) -> Return | None:
    pins = _pins_without(stage, serving)
    text = lock_text(pins)
    if lock_digest(text) == serving.lock.digest:
        return None
    changes = changed_pins(stage.environment, pins, placements)
    release = Release.objects.make(
        stage.environment,
        serving.commit,
        serving.subject,
        LockFile.objects.of(lock_digest(text), text),
        serving.repository_lock,
    )
    return Return(UPGRADE, release, [each.as_json() for each in changes if each.is_taken_back])


def _pins_without(stage: UpgradeStage, serving: Release) -> tuple[Pin, ...]:
    """Return the pins that serve, without those that the upgrade brought and that still do."""
    served = read_pins(serving.lock.text)
    before, after = read_pins(stage.lock_before.text), read_pins(stage.lock_after.text)
    moved = {change.name for change in compare_pins(before, after)}
    back = {name for name in moved if _versions(served, name) == _versions(after, name)}
    own = _pins_of_its_own(stage, serving, before)
    pins = (
        *(pin for pin in served if pin.name not in back),
        *(pin for pin in own if pin.name in back),
    )
    # pip takes hashes for all packages or for none.
    if not all(pin.hashes for pin in pins):
        pins = tuple(replace(pin, hashes=()) for pin in pins)
    return pins


def _versions(pins: Sequence[Pin], name: str) -> set[tuple[str, str]]:
    return {(pin.marker, pin.version) for pin in pins if pin.name == name}


def _pins_of_its_own(
    stage: UpgradeStage, serving: Release, before: tuple[Pin, ...]
) -> tuple[Pin, ...]:
    """Return what the next deployment of the commit that serves installs without the upgrade."""
    is_commit = stage.environment.pins_from == Environment.PinsFrom.COMMIT
    if not is_commit or serving.repository_lock is None:
        return before
    repository = read_pins(serving.repository_lock.text)
    with transaction.atomic():
        # Tried, to see what is left; they are returned once the servers are.
        return_overrides(stage)
        laid = lay_over(stage.environment, repository)
        transaction.set_rollback(True)
    return laid.pins


def list_upgraded(stage: UpgradeStage) -> Message:
    """List the pins of a stage that succeeded; return why not, if the list was changed meanwhile.

    Pins from a commit stay what the repository says: an override holds what moved.
    """
    known = {stage.begun_from, _digest_of(stage.lock_after)}
    return _list(stage.environment, stage.lock_after, known if stage.begun_from else None)


def list_returned(stage: UpgradeStage, lock: LockFile) -> Message:
    """List the pins that an environment returned to; return why not, if people changed the list."""
    known = {_digest_of(stage.lock_after)}
    if stage.begun_from and _listed(stage.environment) == stage.begun_from:
        return Message()  # the upgrade never came to change it
    return _list(stage.environment, lock, known)


def _list(environment: Environment, lock: LockFile, known: set[str] | None) -> Message:
    if environment.pins_from != Environment.PinsFrom.ROWS:
        return Message()
    listed = _listed(environment)
    if listed and known is not None and listed not in known:
        return LIST_KEPT
    replace_pins(environment, read_pins(lock.text))
    return Message()


def _listed(environment: Environment) -> str:
    """Return a digest of the list; blank if it is empty."""
    if not environment.requirements.exists():
        return ""
    try:
        # Read back, as a plan does it: rows may spell the same pins in another way.
        return lock_digest(lock_text(read_pins(lock_text(checked_pins_of(environment)))))
    except DeployManagerError:
        return "unreadable"  # equals no digest: people have to look at it


def _digest_of(lock: LockFile) -> str:
    return lock_digest(lock_text(read_pins(lock.text)))
