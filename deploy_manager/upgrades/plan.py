"""What an upgrade would change, environment by environment, told before anybody asks for it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from deploy_manager.exceptions import InvalidRow, PinError
from deploy_manager.models import (
    AuditedVersion,
    Environment,
    LockFile,
    OnFailure,
    PolicyRun,
    Release,
)
from deploy_manager.models.serving import serving_release
from deploy_manager.packages.overrides import lay_over
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.packages.targets import targets_of
from deploy_manager.requirements.index_facts import IndexProblem, PackageFacts, look_up_many
from deploy_manager.requirements.moving import move_pins
from deploy_manager.requirements.pins import Pin, compare_pins, lock_digest, lock_text
from deploy_manager.requirements.reach import PinRequest
from deploy_manager.requirements.reading import read_pins
from deploy_manager.row_checks import check_row


@dataclass(frozen=True)
class UpgradeOptions:
    """Which packages are to move, how far, and how careful the way there is."""

    pins: tuple[PinRequest, ...]
    """None: an environment goes to the pins that are listed on it."""

    reason: str = ""
    soak: int = 0
    """Seconds that the canary, and each environment, must do well before the next."""

    on_failure: str = OnFailure.RETURN
    before: datetime | None = None
    """Versions that were uploaded later are not taken."""

    exempt: frozenset[str] = frozenset()
    """Packages that are taken however young they are."""

    policy_run: PolicyRun | None = None


@dataclass(frozen=True)
class PlannedStage:
    """An environment that would move: from what serves there to another lock."""

    environment: Environment
    release_before: Release
    lock: str
    """The text of the lock to come."""

    moves: tuple[dict[str, Any], ...]
    """Each package that moves: name, before, after, why, uploaded, yanked, status, fixes."""

    @property
    def digest(self) -> str:
        return lock_digest(self.lock)

    def lock_after(self) -> LockFile:
        """Return the row of the lock to come, writing it the first time."""
        return LockFile.objects.of(self.digest, self.lock)


@dataclass(frozen=True)
class UpgradePlan:
    """The stages of an upgrade in their order, and what speaks against it."""

    options: UpgradeOptions
    stages: tuple[PlannedStage, ...]
    unmoved: tuple[Environment, ...] = ()
    """Environments in which there is nothing to do."""

    problems: tuple[str, ...] = field(default=())
    """Why it can't be done, in words to show. No solution is one of them."""

    @property
    def is_empty(self) -> bool:
        return not self.stages

    @property
    def key(self) -> str:
        """What was looked at: another one, and somebody has to look again."""
        parts = [f"{stage.environment.pk}:{stage.digest}" for stage in self.stages]
        return lock_digest("\n".join(parts))


def plan_upgrade(environments: Sequence[Environment], options: UpgradeOptions) -> UpgradePlan:
    """Return what the request would change. Asks the package index, no server; writes nothing."""
    stages, unmoved, problems = [], [], _unknown_packages(environments, options)
    for environment in environments:
        try:
            stage = _plan_stage(environment, options)
        except (PinError, InvalidRow) as error:
            problems.append(f"{environment}: {error}")
            continue
        if stage is None:
            unmoved.append(environment)
        else:
            stages.append(stage)
    return UpgradePlan(options, tuple(stages), tuple(unmoved), tuple(problems))


def _unknown_packages(environments: Sequence[Environment], options: UpgradeOptions) -> list[str]:
    """Say of each request whose package no environment has that it is none's."""
    known: set[str] = set()
    for environment in environments:
        release = serving_release(environment)
        with suppress(PinError):  # told where its stage is planned
            known |= {pin.name for pin in _listed_pins(environment, release)} if release else set()
    if not known:
        return []
    sites = ", ".join(map(str, environments))
    return [
        _("%(name)s is not among the pins of %(sites)s.") % {"name": each.name, "sites": sites}
        for each in options.pins
        if each.name not in known
    ]


def _plan_stage(environment: Environment, options: UpgradeOptions) -> PlannedStage | None:
    """Return the stage, or None where nothing moves. Raises PinError, InvalidRow."""
    check_row(environment)
    release = serving_release(environment)
    if release is None:
        raise PinError(_("No release serves there yet: deploy it first."))
    listed = _listed_pins(environment, release)
    pins, reasons = _moved(environment, listed, options)
    changes = compare_pins(read_pins(release.lock.text), pins)
    if not changes:
        return None
    found = {change.name: change for change in changes if change.after}
    facts = look_up_many(sorted(found), environment.index_url)
    fixes = _fixes([(change.name, change.before) for change in changes])
    moves = tuple(
        {
            "name": change.name,
            "before": change.before,
            "after": change.after,
            "why": reasons.get(change.name) or _why(environment),
            "fixes": fixes.get((change.name, change.before), []),
            **_facts_of(facts, change.name, change.after),
        }
        for change in changes
    )
    return PlannedStage(environment, release, lock_text(pins), moves)


def _why(environment: Environment) -> str:
    """Why a pin moves that nobody asked for now."""
    if environment.pins_from == Environment.PinsFrom.COMMIT:
        return _("held by an override")
    return _("listed on the environment")


def _listed_pins(environment: Environment, release: Release) -> tuple[Pin, ...]:
    """What an upgrade begins from: the pins people list, or those of the code that serves.

    Over those is put what earlier upgrades hold: a rollback may have taken it back for a while.
    """
    is_listed = environment.pins_from == Environment.PinsFrom.ROWS
    if is_listed and (pins := checked_pins_of(environment)):
        return read_pins(lock_text(pins), f"{environment}'s list of requirements")
    return lay_over(environment, read_pins(release.lock.text)).pins


def pins_begun_from(environment: Environment, release: Release) -> str:
    """Return a digest of what an upgrade begins from: a plan holds as long as it is the same."""
    return lock_digest(lock_text(_listed_pins(environment, release)))


def _moved(
    environment: Environment, pins: Sequence[Pin], options: UpgradeOptions
) -> tuple[Sequence[Pin], dict[str, str]]:
    """Return the pins to come, and why each one moves. Raises PinError."""
    names = {pin.name for pin in pins}
    requests = [each for each in options.pins if each.name in names]
    if not requests:
        return pins, {}
    moved = move_pins(
        lock_text(pins),
        requests,
        targets=targets_of(environment),
        index_url=environment.index_url,
        before=options.before,
        exempt=options.exempt,
    )
    return moved.pins, {move.name: move.why for move in moved.moves}


def _fixes(versions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Return the known advisories of versions that are left behind."""
    wanted = set(versions)
    audited = AuditedVersion.objects.filter(name__in={name for name, _version in wanted})
    return {
        (each.name, each.version): [advisory.identifier for advisory in each.advisories.all()]
        for each in audited.prefetch_related("advisories")
        if (each.name, each.version) in wanted
    }


def _facts_of(
    facts: Mapping[str, PackageFacts | IndexProblem], name: str, version: str
) -> dict[str, str]:
    """What the index says of a version, as it stands on the plan and later on the row."""
    found = facts.get(name)
    blank = {"uploaded": "", "yanked": "", "status": "", "unknown": ""}
    if not isinstance(found, PackageFacts):
        return blank | {"unknown": found.reason if found and version else ""}
    about = found.of(version) if version and "," not in version else None
    if about is None:
        return blank | {"status": found.status}
    return blank | {
        "uploaded": about.uploaded_at.isoformat() if about.uploaded_at else "",
        "yanked": about.yanked_reason or _("yanked") if about.yanked else "",
        "status": found.status,
    }
