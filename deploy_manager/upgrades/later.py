"""Two upgrades of an environment: which goes first, and what belongs to which."""

from collections.abc import Collection

from django.db.models import Exists, OuterRef, QuerySet

from deploy_manager.models import (
    UPGRADE_LIVE,
    LockFile,
    OnFailure,
    State,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.packages.pins import pins_in
from deploy_manager.requirements.pins import PinChange, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.replacing import replace_moved


def moves_of(stage: UpgradeStage) -> tuple[PinChange, ...]:
    """Return what an upgrade changes in its environment; nothing if a lock can't be read."""
    before, after = pins_in(stage.lock_before.text), pins_in(stage.lock_after.text)
    return compare_pins(before, after) if before and after else ()


def listed_before(stage: UpgradeStage) -> LockFile:
    return stage.listed_before or stage.lock_before


def installed_anew(stage: UpgradeStage) -> dict[str, str]:
    """Return packages that a later upgrade, which stays, brought to the versions of this one.

    For instance after a person had rolled this one back by hand. They belong to the later one.
    """
    brought = {move.name: move.after for move in moves_of(stage)}
    return {
        move.name: move.after
        for later in _later_than(stage).filter(state=UpgradeState.SUCCEEDED)
        for move in moves_of(later)
        if brought.get(move.name) == move.after
    }


def leave_out_of_later(stage: UpgradeStage) -> None:
    """Let later upgrades go back, if they have to, to pins without this one's.

    Call it in the transaction in which this one was taken back. Each package is changed in the
    first that moved it on: those after that one go back to what that one brought.
    """
    names = {move.name for move in moves_of(stage)}
    states = [UpgradeState.SUCCEEDED, UpgradeState.FAILED]
    for later in _later_than(stage).filter(state__in=states).order_by("pk"):
        moved = names & {move.name for move in moves_of(later)}
        names -= moved
        later.lock_before = _without(stage, later.lock_before, stage.lock_before, moved)
        if later.listed_before:
            listed = listed_before(stage)
            later.listed_before = _without(stage, later.listed_before, listed, moved)
        later.save(update_fields=["lock_before", "listed_before"])


def at_work_beside(stage: UpgradeStage) -> UpgradeStage | None:
    """Return the stage of another upgrade that is live in the same environment."""
    live = UpgradeStage.objects.filter(environment=stage.environment_id, state__in=UPGRADE_LIVE)
    return live.exclude(pk=stage.pk).select_related("upgrade").first()


def held_up(upgrade_id: int) -> QuerySet[UpgradeStage]:
    """Return stages that are to be rolled back once the upgrades at work there have ended.

    Until then their own has not ended either.
    """
    later = UpgradeStage.objects.filter(
        upgrade=OuterRef("upgrade"),
        number__gt=OuterRef("number"),
        state__in=[UpgradeState.FAILED, UpgradeState.ROLLED_BACK],
    ).exclude(deployment__state=State.CANCELLED)
    return UpgradeStage.objects.filter(
        Exists(later),
        upgrade=upgrade_id,
        upgrade__state__in=UPGRADE_LIVE,
        upgrade__on_failure=OnFailure.RETURN,
        upgrade__cancel_requested_by_name="",
        state=UpgradeState.SUCCEEDED,
    ).order_by("number")


def _later_than(stage: UpgradeStage) -> QuerySet[UpgradeStage]:
    # By the key: an environment has one live upgrade at a time, so they never overlap.
    later = UpgradeStage.objects.filter(environment=stage.environment_id, pk__gt=stage.pk)
    return later.select_related("lock_before", "lock_after", "listed_before")


def _without(
    stage: UpgradeStage, lock: LockFile, before: LockFile, names: Collection[str]
) -> LockFile:
    """Return a lock with what it has of a stage replaced by what was there before."""
    pins, old, new = (pins_in(each.text) for each in (lock, stage.lock_after, before))
    replaced = replace_moved(pins, old, new, names)
    if not (pins and new and replaced.found):
        return lock
    text = lock_text(replaced.pins)
    return LockFile.objects.of(lock_digest(text), text)
