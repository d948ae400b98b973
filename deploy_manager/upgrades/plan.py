"""Plan an upgrade: what would change in each environment, shown before it is requested."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from deploy_manager.credentials import index_of
from deploy_manager.deployments.bad_releases import describe_mark, find_mark
from deploy_manager.deployments.decided import describe
from deploy_manager.deployments.freezes import why_not_now
from deploy_manager.deployments.pipelines import pipeline_for
from deploy_manager.exceptions import InvalidRow, PinError, RequestRefused
from deploy_manager.messages import Message
from deploy_manager.models import (
    Environment,
    LockFile,
    OnFailure,
    PolicyRun,
    Release,
)
from deploy_manager.models.deployments import UPGRADE
from deploy_manager.models.serving import serving_release
from deploy_manager.packages.downgrades import judge_changes
from deploy_manager.packages.exposure import audited_versions
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
    """Which packages an upgrade moves, how far, and how carefully it is rolled out."""

    pins: tuple[PinRequest, ...]
    """Empty: each environment is moved to the pins that are listed on it."""

    reason: str = ""
    soak: int = 0
    """Seconds to watch the canary, and each environment, before going on to the next."""

    on_failure: str = OnFailure.RETURN
    before: datetime | None = None
    """The cooldown: versions uploaded later are not considered."""

    exempt: frozenset[str] = frozenset()
    """Packages without a cooldown."""

    policy_run: PolicyRun | None = None


@dataclass(frozen=True)
class PlannedStage:
    """An environment whose pins would move, from the release that serves to another lock."""

    environment: Environment
    release_before: Release
    lock: str
    """The text of the new lock."""

    moves: tuple[dict[str, Any], ...]
    """For each package: name, before, after, why, fixes, uploaded, yanked, status, unknown, and
    what the change would undo: goes_back, undoes, advisories."""

    begun_from: str = ""
    """The pins that it begins from, as the text of a lock; see `pins_begun_from`."""

    decided: str = ""
    """The digest of what decides what runs there, as it was planned; blank: nothing was shown."""

    @property
    def digest(self) -> str:
        return lock_digest(self.lock)

    @cached_property
    def mark(self) -> Release | None:
        """The release that marks the new pins as bad here, as a former upgrade to them failed.

        Only a mark on the new pins counts: the code, and maybe its old pins, serve already.
        """
        found = find_mark(self.environment, self.release_before.commit, self.digest)
        return found if found and found.lock.digest == self.digest else None

    @property
    def bad(self) -> Message:
        """Why the new pins are marked as bad here: only people may install them then."""
        return describe_mark(self.mark) if self.mark else Message()

    @cached_property
    def not_now(self) -> Message:
        """The freeze or closed window that the upgrade has to wait for here; blank: none."""
        try:
            pipeline = pipeline_for(self.environment, UPGRADE)
            return why_not_now(self.environment, pipeline, timezone.now())
        except RequestRefused as error:
            return error.message

    def lock_after(self) -> LockFile:
        """Return the row of the new lock, written if there is none."""
        return LockFile.objects.of(self.digest, self.lock)

    def listed_before(self) -> LockFile | None:
        """Return the row of the pins that it begins from; None if they are not known."""
        if not self.begun_from:
            return None
        return LockFile.objects.of(lock_digest(self.begun_from), self.begun_from)


def describe_move(move: Mapping[str, Any]) -> str:
    """Return a move like django 5.2.7 → 5.2.8."""
    return f"{move['name']} {move['before'] or '-'} → {move['after'] or '-'}"


@dataclass(frozen=True)
class UpgradePlan:
    """The stages of an upgrade in their order, and the problems found."""

    options: UpgradeOptions
    stages: tuple[PlannedStage, ...]
    unmoved: tuple[Environment, ...] = ()
    """Environments in which nothing would change."""

    problems: tuple[Message | str, ...] = ()
    """Why it can't be done, as messages: for instance that the resolver found no solution."""

    failed: tuple[Environment, ...] = ()
    """Environments in their order that could not be planned, each with one of the problems."""

    def before_problems(self, environments: Sequence[Environment]) -> "UpgradePlan":
        """Return the plan for those of its environments that come before the first that failed.

        A problem that is not of one environment stays.
        """
        if not self.failed or len(self.problems) > len(self.failed):
            return self
        before = environments[: environments.index(self.failed[0])]
        stages = tuple(stage for stage in self.stages if stage.environment in before)
        return replace(self, stages=stages, problems=(), failed=())

    @property
    def is_empty(self) -> bool:
        return not self.stages

    @property
    def taken_back(self) -> tuple[str, ...]:
        """The moves that undo an upgrade or a fix of packages that nobody named, as text."""
        named = {pin.name for pin in self.options.pins}
        moves = (
            move
            for stage in self.stages
            for move in stage.moves
            if move["name"] not in named
            and (move["undoes"] or (move["goes_back"] and move["advisories"]))
        )
        return tuple(dict.fromkeys(map(describe_move, moves)))

    @property
    def key(self) -> str:
        """A digest of what was shown: if it differs, the plan has to be shown again."""
        parts = [
            f"{stage.environment.pk}:{stage.digest}:{stage.bad}:{stage.decided}"
            for stage in self.stages
        ]
        return lock_digest("\n".join(parts))


def plan_upgrade(environments: Sequence[Environment], options: UpgradeOptions) -> UpgradePlan:
    """Return what these options would change; asks the package index, no server.

    Nothing is written but what decides what would run, so that a change of it can be named later.
    """
    stages, unmoved, failed = [], [], []
    problems = _unknown_packages(environments, options)
    for environment in environments:
        try:
            stage = _plan_stage(environment, options)
        except (PinError, InvalidRow) as error:
            problems.append(Message("%(site)s: %(why)s", site=environment, why=error))
            failed.append(environment)
            continue
        if stage is None:
            unmoved.append(environment)
        else:
            stages.append(stage)
    return UpgradePlan(options, tuple(stages), tuple(unmoved), tuple(problems), tuple(failed))


def _unknown_packages(
    environments: Sequence[Environment], options: UpgradeOptions
) -> list[Message]:
    """Return a problem for each requested package that no environment has."""
    known: set[str] = set()
    for environment in environments:
        release = serving_release(environment)
        with suppress(PinError):  # becomes a problem when its stage is planned
            known |= {pin.name for pin in _listed_pins(environment, release)} if release else set()
    if not known:
        return []
    sites = ", ".join(map(str, environments))
    return [
        Message(_("%(name)s is not among the pins of %(sites)s."), name=each.name, sites=sites)
        for each in options.pins
        if each.name not in known
    ]


def _plan_stage(environment: Environment, options: UpgradeOptions) -> PlannedStage | None:
    """Return the stage, or None if nothing moves. Raises PinError, InvalidRow."""
    check_row(environment)
    release = serving_release(environment)
    if release is None:
        raise PinError(_("No release serves there yet: deploy it first."))
    listed = _listed_pins(environment, release)
    pins, reasons = _move(environment, listed, options)
    before = read_pins(release.lock.text)
    changes = compare_pins(before, pins)
    if not changes:
        return None
    facts = look_up_many([each.name for each in changes if each.after], index_of(environment))
    audited = audited_versions({change.name for change in changes})
    # A pin may differ from what serves without having been requested now.
    is_commit = environment.pins_from == Environment.PinsFrom.COMMIT
    otherwise = _("held by an override") if is_commit else _("listed on the environment")
    moves = []
    for change, judged in zip(
        changes, judge_changes(environment, changes, before, pins), strict=True
    ):
        left = audited.get((change.name, change.before))
        moves.append(
            {
                "name": change.name,
                "before": change.before,
                "after": change.after,
                "why": reasons.get(change.name) or otherwise,
                "fixes": [each.identifier for each in left.advisories.all()] if left else [],
                **_facts_of(facts, change.name, change.after),
                "goes_back": judged.goes_back,
                "undoes": judged.undoes,
                "advisories": list(judged.advisories),
            }
        )
    return PlannedStage(
        environment,
        release,
        lock_text(pins),
        tuple(moves),
        lock_text(listed),
        describe(environment, pins=False).save().digest,
    )


def _listed_pins(environment: Environment, release: Release) -> tuple[Pin, ...]:
    """Return the pins an upgrade begins from: those listed, or those of the release that serves.

    The latter with the overrides, which a rollback may have taken back for a while.
    """
    is_listed = environment.pins_from == Environment.PinsFrom.ROWS
    if is_listed and (pins := checked_pins_of(environment)):
        # Written and read back, as rows may hold what is not a line of a lock.
        return read_pins(lock_text(pins), f"{environment}'s list of requirements")
    return lay_over(environment, read_pins(release.lock.text)).pins


def pins_begun_from(environment: Environment, release: Release) -> str:
    """Return the pins an upgrade begins from: a plan is valid while they are the same."""
    return lock_text(_listed_pins(environment, release))


def _move(
    environment: Environment, pins: Sequence[Pin], options: UpgradeOptions
) -> tuple[Sequence[Pin], dict[str, str]]:
    """Return the new pins, and the reasons by package. Raises PinError."""
    # One upgrade serves several environments, which need not have all of its packages.
    names = {pin.name for pin in pins}
    requests = [each for each in options.pins if each.name in names]
    if not requests:
        return pins, {}
    moved = move_pins(
        lock_text(pins),
        requests,
        targets=targets_of(environment),
        index_url=index_of(environment),
        before=options.before,
        exempt=options.exempt,
    )
    return moved.pins, {move.name: move.why for move in moved.moves}


def _facts_of(
    facts: Mapping[str, PackageFacts | IndexProblem], name: str, version: str
) -> dict[str, str]:
    """Return the index facts of a version, for the plan and later the stage's row."""
    found = facts.get(name)
    blank = {"uploaded": "", "yanked": "", "status": "", "unknown": ""}
    if not isinstance(found, PackageFacts):
        return blank | {"unknown": str(found.reason) if found and version else ""}
    # Several versions, for different markers, have no facts in common.
    about = found.of(version) if version and "," not in version else None
    if about is None:
        return blank | {"status": found.status}
    return blank | {
        "uploaded": about.uploaded_at.isoformat() if about.uploaded_at else "",
        "yanked": about.yanked_reason or gettext("yanked") if about.yanked else "",
        "status": found.status,
    }
