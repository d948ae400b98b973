"""Find the pins that a release would change, and those that undo an upgrade or a fix.

Undoing needs a confirmation: a commit made before an upgrade must not silently take it back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.utils.translation import gettext_noop as _
from packaging.version import Version

from deploy_manager.exceptions import RequestRefused
from deploy_manager.messages import Message
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
from deploy_manager.requirements.pins import (
    Detail,
    Pin,
    PinChange,
    PinDifference,
    compare_wholly,
    same_place,
)
from deploy_manager.requirements.versions import parsed_version

Key = tuple[str, str, str]
"""Package, version before, version after: what a person confirms."""


REMOVED = "-"
"""In place of a version: an upgrade had removed the package."""


@dataclass(frozen=True)
class ChangedPin:
    """A package whose pin changes, and what the change would undo."""

    name: str
    before: str
    after: str
    """Versions, as in a PinChange."""

    goes_back: bool = False
    """Whether a lower version is installed afterwards."""

    advisories: tuple[str, ...] = ()
    """Known against the new version, but not against the one that serves."""

    undoes: str = ""
    """The version of an upgrade that this takes back; REMOVED if one removed it; blank: none."""

    details: tuple[Detail, ...] = ()
    """What else differs: of a package that keeps its version, all that does."""

    is_taken_back: bool = False
    """Whether an upgrade or a fix is undone, which a person has to confirm."""

    @property
    def key(self) -> Key:
        return self.name, self.before, self.after

    def as_json(self) -> dict[str, str]:
        """Return it as `Deployment.take_back` stores a confirmed change."""
        return {"name": self.name, "before": self.before, "after": self.after}

    def __str__(self) -> str:
        move = f"{self.name} {self.before or '-'} → {self.after or '-'}"
        if self.before == self.after:
            move = f"{self.name} {self.after}"
        return f"{move} ({', '.join(self.advisories)})" if self.advisories else move


def changed_pins(
    environment: Environment, pins: Sequence[Pin], placements: Iterable[Placement]
) -> tuple[ChangedPin, ...]:
    """Return what these pins change on servers, compared with what each of them serves now.

    Compared with the release that most of them serve, every change is returned; compared with the
    others, only those that undo something there, too.
    """
    placements = list(placements)
    releases = [each.active_release for each in placements if each.active_release]
    usual = most_served(placements)
    # In this order: of the first lock below every change is returned.
    served = dict.fromkeys([usual.lock_id] if usual else [])
    served |= dict.fromkeys(release.lock_id for release in releases)
    texts = LockFile.objects.in_bulk(served)
    # Where nothing serves, all pins are new: that is compared with no pins at all.
    locks = [pins_in(texts[lock].text) for lock in served] or [()]
    changes = [compare_wholly(lock, pins) for lock in locks]
    history = _History(environment, [change for each in changes for change in each])
    first, *others = [
        [history.judge(change, lock, pins) for change in each]
        for each, lock in zip(changes, locks, strict=True)
    ]
    known = {change.key for change in first}
    more = {each.key: each for found in others for each in found if each.is_taken_back}
    return (*first, *(each for key, each in sorted(more.items()) if key not in known))


def judge_changes(
    environment: Environment,
    changes: Sequence[PinChange],
    before: Sequence[Pin],
    after: Sequence[Pin],
) -> list[ChangedPin]:
    """Return the changes from some pins to others, each with what it would undo."""
    history = _History(environment, changes)
    return [history.judge(change, before, after) for change in changes]


class _History:
    """What is known about the packages of some changes: advisories, and earlier upgrades."""

    def __init__(self, environment: Environment, changes: Sequence[PinChange]) -> None:
        names = {change.name for change in changes if change.after}
        self._against: Mapping[tuple[str, str], set[str]] = {
            version: {advisory.identifier for advisory in row.advisories.all()}
            for version, row in (audited_versions(names) if names else {}).items()
        }
        self._brought: dict[str, set[str]] = defaultdict(set)
        """Versions that upgrades installed, by package; blank: one removed it."""

        self._fixed: dict[tuple[str, str], set[str]] = defaultdict(set)
        """Advisories that upgrades fixed, by package and the version that they left."""

        if names:
            self._read_upgrades(environment, names)

    def _read_upgrades(self, environment: Environment, names: set[str]) -> None:
        def note(name: str, before: Iterable[str], after: Iterable[str], fixes: object) -> None:
            self._brought[name].update(after)
            for version in before:
                self._fixed[name, version].update(texts_in(fixes))

        stages = UpgradeStage.objects.filter(
            environment=environment, state=UpgradeState.SUCCEEDED
        ).values_list("moves", flat=True)
        for move in (move for moves in stages for move in objects_in(moves)):
            name, before, after = (move.get(key) for key in ("name", "before", "after"))
            # Rows are also written around forms: what is not a move is left out.
            if not (isinstance(name, str) and isinstance(before, str) and isinstance(after, str)):
                continue
            if name in names and after:
                note(name, before.split(", "), after.split(", "), move.get("fixes"))
        rows = Override.objects.filter(environment=environment, name__in=names)
        for row in rows.exclude(ended_how=Override.End.RETURNED):
            # A removal counts only if it was let go: otherwise the repository may need it again.
            if row.version or row.ended_how == Override.End.LET_GO:
                note(row.name, texts_in(row.before), [row.version], row.fixes)

    def judge(self, change: PinChange, before: Sequence[Pin], after: Sequence[Pin]) -> ChangedPin:
        old = [pin for pin in before if pin.name == change.name]
        new = [pin for pin in after if pin.name == change.name]
        goes_back = any(
            Version(pin.version) < Version(was.version)
            for pin in new
            for was in same_place(pin, old)
            if not (pin.is_commit or was.is_commit)  # what versions they have is unknown
        )
        known = {one for pin in new for one in self._known(pin)}
        known -= {one for pin in old for one in self._known(pin)}
        fixed = {
            one
            for (name, _version), found in self._fixed.items()
            if name == change.name
            for one in found
        }
        undoes = self._undone(old, new)
        # Going back to anything vulnerable counts; going up only if an upgrade had fixed just that.
        vulnerable = known if goes_back else known & fixed
        return ChangedPin(
            change.name,
            change.before,
            change.after,
            goes_back,
            tuple(sorted(known)),
            undoes,
            details=change.details if isinstance(change, PinDifference) else (),
            is_taken_back=bool(undoes) or bool(vulnerable),
        )

    def _known(self, pin: Pin) -> set[str]:
        version = pin.name, pin.version
        return self._against.get(version, set()) | self._fixed.get(version, set())

    def _undone(self, old: Sequence[Pin], new: Sequence[Pin]) -> str:
        """Return the version of an upgrade that the new pins undo; blank: none."""
        if not new:
            return ""
        brought = self._brought.get(new[0].name, set())
        if not old:
            return self._undone_by_return(new, brought)
        for pin in new:
            is_left = (pin.name, pin.version) in self._fixed
            for was in same_place(pin, old):
                if was.version in brought and is_left and pin.version not in brought:
                    return was.version  # an upgrade had moved down, away from this very version
        versions = [version for version in map(parsed_version, brought) if version]
        between = [
            version
            for version in versions
            for pin in new
            for was in same_place(pin, old)
            if Version(pin.version) < version <= Version(was.version)
        ]
        return str(max(between)) if between else ""

    def _undone_by_return(self, new: Sequence[Pin], brought: set[str]) -> str:
        """Return what is undone by a package that does not serve: dropped since, or removed."""
        if "" in brought:
            return REMOVED
        versions = [version for version in map(parsed_version, brought) if version]
        for pin in new:
            is_left = (pin.name, pin.version) in self._fixed and pin.version not in brought
            if versions and (is_left or Version(pin.version) < max(versions)):
                return str(max(versions))
        return ""


def refuse_what_nobody_confirmed(deployment: Deployment, pins: Sequence[Pin]) -> None:
    """Raise RequestRefused if these pins undo more than was shown and confirmed.

    An upgrade is planned as a whole, with its return, and a rollback names its release: all of them
    are exempt.
    """
    stages = UpgradeStage.objects.filter(Q(deployment=deployment) | Q(returned_by=deployment))
    if deployment.recipe == ROLLBACK or stages.exists():
        return
    runs = deployment.host_runs.exclude(placement=None)
    runs = runs.select_related("placement__active_release")
    placements = [run.placement for run in runs if run.placement]
    confirmed = confirmed_in(deployment.take_back)
    changes = changed_pins(deployment.environment, pins, placements)
    more = [each for each in changes if each.is_taken_back and each.key not in confirmed]
    if more:
        raise RequestRefused(describe_unconfirmed(more))


def confirmed_in(rows: object) -> set[Key]:
    """Return the confirmed changes in a deployment's row; anything else in it is left out."""
    found: set[Key] = set()
    for row in objects_in(rows):
        key = (row.get("name"), row.get("before"), row.get("after"))
        if all(isinstance(one, str) for one in key):
            found.add(key)  # type: ignore[arg-type]
    return found


def describe_unconfirmed(changes: Iterable[ChangedPin]) -> Message:
    """Return what would be undone without a confirmation, and how to confirm it."""
    return Message(
        _(
            "This would undo an upgrade or a fix, which was not confirmed: %(changes)s. To confirm"
            " it, deploy it by hand, with --take-back or the checkbox on the admin's page."
        ),
        changes="; ".join(map(str, changes)),
    )
