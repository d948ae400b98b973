"""Overrides as upgrades write them, and end them if they are rolled back."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_noop as _

from deploy_manager.messages import Message, join
from deploy_manager.models import Environment, Override, UpgradeStage
from deploy_manager.models.shapes import texts_in
from deploy_manager.packages.pins import pins_in
from deploy_manager.requirements.moving import ASKED_FOR, MOVES_WITH_OTHERS, NO_LONGER_NEEDED
from deploy_manager.requirements.pins import Pin, compare_pins
from deploy_manager.requirements.reading import read_pins


def note_overrides(stage: UpgradeStage) -> None:
    """Write overrides for the pins an upgrade moved which the repository does not have yet.

    Call it in the transaction in which the stage succeeds. It replaces those of earlier upgrades,
    also to the same pins: if one of those is taken back, what this one installed stays.
    """
    environment = stage.environment
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return
    before, after = read_pins(stage.lock_before.text), read_pins(stage.lock_after.text)
    release = stage.release_before
    lock = release.repository_lock if release else None
    # If the repository's own pins were not kept, it is taken to have what served.
    repository = pins_in(lock.text) if lock else before
    held: dict[str, list[Override]] = defaultdict(list)
    for row in environment.overrides.live():
        held[row.name].append(row)
    moves: dict[str, Mapping[str, Any]] = {str(move["name"]): move for move in stage.moved}
    for change in compare_pins(before, after):
        name = change.name
        pins, listed = _of(after, name), _of(repository, name)
        # Ended first: a constraint allows one live override of a package and marker.
        replaced = Override.objects.filter(pk__in=[row.pk for row in held[name]])
        why = Message(_("Upgrade %(upgrade)s moved it on."), upgrade=stage.upgrade)
        replaced.end(Override.End.REPLACED, why, replaced_by=stage.upgrade)
        if _versions(pins) != _versions(listed):
            _write(stage, name, pins, listed, moves.get(name, {}))


def _of(pins: Iterable[Pin], name: str) -> list[Pin]:
    return [pin for pin in pins if pin.name == name]


def _versions(found: Iterable[Pin | Override]) -> dict[str, str]:
    return {one.marker: one.version for one in found if one.version}


def _why(moved: str, reason: str) -> Message:
    """Return why a pin was moved: for itself or for another one, and what the upgrade was for."""
    is_ours = moved in (ASKED_FOR, NO_LONGER_NEEDED, MOVES_WITH_OTHERS)
    said = Message(moved) if is_ours else Message("%(why)s", why=moved)
    known = [said, *([Message("%(reason)s", reason=reason)] if reason else [])]
    return join(known if moved else known[1:], ": ")


def _write(
    stage: UpgradeStage,
    name: str,
    pins: Sequence[Pin],
    listed: Sequence[Pin],
    move: Mapping[str, Any],
) -> None:
    """Write a row for each marker, or one without a version for a package that was removed."""
    common: dict[str, Any] = {
        "environment": stage.environment,
        "name": name,
        "before": sorted({pin.version for pin in listed}),
        "why": _why(str(move.get("why", "")), stage.upgrade.reason),
        "fixes": list(texts_in(move.get("fixes"))),
        "upgrade": stage.upgrade,
    }
    if not pins:
        Override.objects.create(**common)
        return
    Override.objects.bulk_create(
        Override(
            version=pin.version,
            marker=pin.marker,
            extras=list(pin.extras),
            hashes=list(pin.hashes),
            direct=pin.direct,
            **common,
        )
        for pin in pins
    )


def return_overrides(stage: UpgradeStage) -> None:
    """End the overrides of a stage that was rolled back, and revive those that it had replaced.

    If a later upgrade moved a package on, also back to the repository's pins, what it left stays.
    It then replaces what is from before this stage, and revives that if it is rolled back, too.
    None is revived of a package that was let go since, or in which the repository caught up.
    """
    here = Override.objects.filter(environment=stage.environment)
    why = Message(_("Upgrade %(upgrade)s was taken back."), upgrade=stage.upgrade)
    mine = here.filter(upgrade=stage.upgrade)
    mine.end(Override.End.RETURNED, why)
    # Before the next UPDATE, which clears it.
    later = {row.name: row.replaced_by_id for row in mine.filter(ended_how=Override.End.REPLACED)}
    mine.filter(ended_how=Override.End.REPLACED).update(
        ended_how=Override.End.RETURNED, ended_why=why, replaced_by=None
    )
    moved_on = {*later, *here.live().values_list("name", flat=True)}
    # What has ended otherwise, or was let go, did so with all that it had replaced.
    over = here.filter(name=OuterRef("name"), ended_at__gte=OuterRef("ended_at")).exclude(
        ended_how__in=[Override.End.REPLACED, Override.End.RETURNED]
    )
    earlier = here.filter(ended_how=Override.End.REPLACED, replaced_by=stage.upgrade)
    for row in earlier.exclude(Exists(over)):
        again = Override.objects.filter(pk=row.pk)
        if row.name in moved_on:
            again.update(replaced_by=later.get(row.name))
        else:
            again.update(
                ended_at=None, ended_how="", ended_why="", ended_by_name="", replaced_by=None
            )
