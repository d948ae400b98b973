"""Which pins a release would change, and which of them take back an upgrade or a fix."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from packaging.version import InvalidVersion, Version

from deploy_manager.exceptions import RequestRefused
from deploy_manager.models import (
    Deployment,
    Environment,
    LockFile,
    Override,
    Placement,
    UpgradeStage,
    UpgradeState,
)
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.serving import most_served
from deploy_manager.models.shapes import objects_in, texts_in
from deploy_manager.packages.exposure import audited_versions
from deploy_manager.packages.pins import pins_in
from deploy_manager.requirements.pins import Pin, PinChange, compare_pins

Key = tuple[str, str, str]
"""Package, version before, version after: what somebody confirms."""


@dataclass(frozen=True)
class ChangedPin:
    """A package whose pin becomes another one, and what that means."""

    name: str
    before: str
    after: str
    """Versions, as a PinChange has them."""

    goes_back: bool = False
    """Whether a lower version is installed afterwards."""

    advisories: tuple[str, ...] = ()
    """What is known against the version to come, and not against the one that serves."""

    undoes: str = ""
    """What an upgrade brought and this takes back; blank: nothing."""

    is_taken_back: bool = False
    """Whether an upgrade or a fix is undone: somebody has to say that they want that."""

    @property
    def key(self) -> Key:
        return self.name, self.before, self.after

    def as_json(self) -> dict[str, str]:
        """As it stands on a deployment's row once it is confirmed."""
        return {"name": self.name, "before": self.before, "after": self.after}

    def __str__(self) -> str:
        told = f"{self.name} {self.before or '-'} → {self.after or '-'}"
        return f"{told} ({', '.join(self.advisories)})" if self.advisories else told


def changed_pins(
    environment: Environment, pins: Sequence[Pin], placements: Iterable[Placement]
) -> tuple[ChangedPin, ...]:
    """Return what changes on servers that get these pins, compared with what each serves now.

    What most of them serve is told whole; of the others only what is taken back there, too.
    """
    placements = list(placements)
    releases = [each.active_release for each in placements if each.active_release]
    usual = most_served(placements)
    served = dict.fromkeys([usual.lock_id] if usual else [])
    served |= dict.fromkeys(release.lock_id for release in releases)
    texts = LockFile.objects.in_bulk(served)
    locks = [pins_in(texts[lock].text) for lock in served] or [()]
    changes = [compare_pins(lock, pins) for lock in locks]
    judging = _Judge(environment, [change for each in changes for change in each])
    first, *others = [
        [judging.judged(change, lock, pins) for change in each]
        for each, lock in zip(changes, locks, strict=True)
    ]
    known = {change.key for change in first}
    more = {each.key: each for found in others for each in found if each.is_taken_back}
    return (*first, *(each for key, each in sorted(more.items()) if key not in known))


class _Judge:
    """What is known of some changes: advisories, and what upgrades brought here."""

    def __init__(self, environment: Environment, changes: Sequence[PinChange]) -> None:
        names = {change.name for change in changes if change.after}
        self._against: Mapping[tuple[str, str], set[str]] = {
            version: {advisory.identifier for advisory in row.advisories.all()}
            for version, row in (audited_versions(names) if names else {}).items()
        }
        self._brought: dict[str, set[str]] = defaultdict(set)
        """Versions that upgrades brought, by package; blank: one removed it."""

        self._fixed: dict[tuple[str, str], set[str]] = defaultdict(set)
        """The advisories that upgrades ended, by package and version that they left."""

        if names:
            self._look_at_upgrades(environment, names)

    def _look_at_upgrades(self, environment: Environment, names: set[str]) -> None:
        stages = UpgradeStage.objects.filter(
            environment=environment, state=UpgradeState.SUCCEEDED
        ).values_list("moves", flat=True)
        for moves in stages:
            for name, before, after, fixes in _moves_in(moves):
                if name in names and after:
                    self._note(name, before.split(", "), after.split(", "), fixes)
        rows = Override.objects.filter(environment=environment, name__in=names)
        for row in rows.exclude(ended_how=Override.End.RETURNED):
            if row.version or row.ended_how == Override.End.LET_GO:
                self._note(row.name, texts_in(row.before), [row.version], texts_in(row.fixes))

    def _note(
        self, name: str, before: Iterable[str], after: Iterable[str], fixes: Iterable[str]
    ) -> None:
        self._brought[name].update(after)
        for version in before:
            self._fixed[name, version].update(fixes)

    def judged(self, change: PinChange, before: Sequence[Pin], after: Sequence[Pin]) -> ChangedPin:
        old = [pin for pin in before if pin.name == change.name]
        new = [pin for pin in after if pin.name == change.name]
        goes_back = _goes_back(old, new)
        known = {one for pin in new for one in self._known(pin.name, pin.version)}
        known -= {one for pin in old for one in self._known(pin.name, pin.version)}
        undoes = self._undone(old, new)
        ended = {one for pin in new for one in self._ended(pin.name)}
        is_taken_back = bool(undoes) or bool(known if goes_back else known & ended if old else ())
        return ChangedPin(
            change.name,
            change.before,
            change.after,
            goes_back,
            tuple(sorted(known)),
            undoes,
            is_taken_back,
        )

    def _known(self, name: str, version: str) -> set[str]:
        return self._against.get((name, version), set()) | self._fixed.get((name, version), set())

    def _ended(self, name: str) -> set[str]:
        return {one for (of, _version), found in self._fixed.items() if of == name for one in found}

    def _is_left(self, pin: Pin) -> bool:
        return (pin.name, pin.version) in self._fixed

    def _undone(self, old: Sequence[Pin], new: Sequence[Pin]) -> str:
        """Return the version of an upgrade that what comes undoes; blank: none."""
        if not new:
            return ""
        brought = self._brought.get(new[0].name, set())
        if not old:
            return _("removed") if "" in brought else ""
        for pin in new:
            for was in _same_place(pin, old):
                if was.version in brought and self._is_left(pin) and pin.version not in brought:
                    return was.version  # an upgrade had moved down, away from this very version
        versions = [version for version in map(parse_version, brought) if version]
        between = [
            version
            for version in versions
            for pin in new
            for was in _same_place(pin, old)
            if Version(pin.version) < version <= Version(was.version)
        ]
        return str(max(between)) if between else ""


def judge(
    environment: Environment, change: PinChange, before: Sequence[Pin], after: Sequence[Pin]
) -> ChangedPin:
    """Return one change and what it means."""
    return _Judge(environment, [change]).judged(change, before, after)


def _moves_in(moves: object) -> Iterable[tuple[str, str, str, tuple[str, ...]]]:
    """Read what stands on a stage's row; what is not of its kind is left."""
    for move in objects_in(moves):
        name, before, after = (move.get(key) for key in ("name", "before", "after"))
        if isinstance(name, str) and isinstance(before, str) and isinstance(after, str):
            yield name, before, after, texts_in(move.get("fixes"))


def parse_version(text: object) -> Version | None:
    """Return a version of a row, or None for what is none."""
    try:
        return Version(text)  # type: ignore[arg-type]
    except (InvalidVersion, TypeError):
        return None


def _same_place(pin: Pin, others: Sequence[Pin]) -> list[Pin]:
    return [one for one in others if one.marker == pin.marker] or list(others)


def _goes_back(old: Sequence[Pin], new: Sequence[Pin]) -> bool:
    return any(
        Version(pin.version) < Version(was.version) for pin in new for was in _same_place(pin, old)
    )


def refuse_what_nobody_confirmed(deployment: Deployment, pins: Sequence[Pin]) -> None:
    """Raise RequestRefused where these pins take back more than was shown and confirmed.

    An upgrade, with its rollback, was planned as a whole; a rollback names its very release.
    """
    stage = UpgradeStage.objects.filter(deployment=deployment)
    if deployment.recipe == ROLLBACK or stage.exists():
        return
    runs = deployment.host_runs.exclude(placement=None)
    runs = runs.select_related("placement__active_release")
    placements = [run.placement for run in runs if run.placement]
    confirmed = confirmed_in(deployment.take_back)
    changes = changed_pins(deployment.environment, pins, placements)
    more = [each for each in changes if each.is_taken_back and each.key not in confirmed]
    if more:
        raise RequestRefused(tell_unconfirmed(more))


def confirmed_in(rows: object) -> set[Key]:
    """Return what of a deployment's row is a confirmation; what is not of its kind is none."""
    found: set[Key] = set()
    for row in objects_in(rows):
        key = (row.get("name"), row.get("before"), row.get("after"))
        if all(isinstance(one, str) for one in key):
            found.add(key)  # type: ignore[arg-type]
    return found


def tell_unconfirmed(changes: Iterable[ChangedPin]) -> str:
    """Say what would be taken back, and how somebody says that it shall be."""
    return _(
        "This would take back what an upgrade or a fix brought: %(changes)s. Nobody confirmed that:"
        " deploy it by hand, with --take-back or the tick on the admin's page."
    ) % {"changes": "; ".join(map(str, changes))}
