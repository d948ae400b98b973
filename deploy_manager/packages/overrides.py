"""Overrides: put over a repository's pins, ended once it has caught up, let go by a person.

A deployment may take a lock from here only.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db.models import Exists, F, OuterRef, Q
from django.utils.translation import gettext_noop as _
from packaging.utils import is_normalized_name

from deploy_manager.auditing import noting
from deploy_manager.credentials import index_of
from deploy_manager.exceptions import DeployManagerError, PinError, RequestRefused
from deploy_manager.logs import mask_text
from deploy_manager.messages import Message, join
from deploy_manager.models import Deployment, Environment, HostRun, Override, Release
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.models.serving import serving_release
from deploy_manager.models.shapes import texts_in
from deploy_manager.packages.downgrades import ChangedPin, judge_changes
from deploy_manager.packages.pins import pins_in
from deploy_manager.packages.targets import targets_of
from deploy_manager.requirements.overriding import HeldPackage, Standing, put_over
from deploy_manager.requirements.pins import Pin, PinChange, lock_text
from deploy_manager.requirements.reading import read_pins
from deploy_manager.requirements.versions import parsed_version

logger = logging.getLogger(__name__)

ENDS = {
    Standing.CAUGHT_UP: Override.End.CAUGHT_UP,
    Standing.DROPPED: Override.End.DROPPED,
    Standing.NOT_NEEDED: Override.End.NOT_NEEDED,
}


@dataclass(frozen=True)
class StandingOverride:
    """The overrides of one package, compared with what a repository pins."""

    rows: tuple[Override, ...]
    """One for each marker."""

    repository: str
    """The versions that the repository pins; blank: it does not list the package."""

    standing: Standing
    only_by: str = ""
    """The ref whose deployment to all servers can end it; blank: the deployment at hand can."""

    @property
    def name(self) -> str:
        return self.rows[0].name

    @property
    def version(self) -> str:
        """The versions that the upgrade installed; blank: it removed the package."""
        return ", ".join(dict.fromkeys(row.version for row in self.rows if row.version))

    @property
    def holds(self) -> bool:
        return self.standing is Standing.HOLDS

    @property
    def why(self) -> Message:
        """The reason for the move, the advisories it fixed, and the upgrade."""
        row = self.rows[0]
        parts = [row.why]
        if row.fixes_text:
            parts.append(Message(_("fixes %(advisories)s"), advisories=row.fixes_text))
        if row.upgrade_id:
            parts.append(Message(_("upgrade #%(number)d"), number=row.upgrade_id))
        return join(filter(None, parts), "; ")

    @property
    def outcome(self) -> Message:
        """Whether it holds, ends or stays, and why, in words."""
        words = {"name": self.name, "version": self.repository or Message(_("none"))}
        if self.only_by and not self.holds:
            text = _("stays: only a deployment of %(ref)s to all servers can end it")
            return Message(text, ref=self.only_by)
        match self.standing:
            case Standing.HOLDS:
                return Message(_("holds: the repository has %(version)s"), **words)
            case Standing.CAUGHT_UP:
                return Message(_("ends: the repository has %(version)s"), **words)
            case Standing.DROPPED:
                return Message(_("ends: the repository no longer lists %(name)s"), **words)
            case _other:
                return Message(_("ends: no override that still holds needs it"))


@dataclass(frozen=True)
class LaidOver:
    """The pins to install, and the live overrides with what became of each."""

    pins: tuple[Pin, ...]
    overrides: tuple[StandingOverride, ...] = ()


def lay_over(environment: Environment, pins: tuple[Pin, ...]) -> LaidOver:
    """Return a commit's pins, replaced by the environment's overrides where those are ahead.

    An environment that lists its own pins has no overrides: an upgrade changes its list. Raises
    PinError for an override that is not a valid pin, as rows are also written around forms.
    """
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return LaidOver(pins)  # some may be live from before it was changed to a list
    live = environment.overrides.live().select_related("upgrade")
    rows: dict[str, list[Override]] = defaultdict(list)
    for row in live:
        rows[row.name].append(row)
    if not rows:
        return LaidOver(pins)
    moved = _moved_with_removals(environment, live)
    held = [
        replace(held_package(name, of_one), moved_with=moved.get(of_one[0].upgrade_id))
        for name, of_one in rows.items()
    ]
    laid = put_over(pins, held)
    return LaidOver(
        laid.pins,
        tuple(
            StandingOverride(tuple(of_one), versions_of(pins, name), laid.standings[name])
            for name, of_one in rows.items()
        ),
    )


def _moved_with_removals(
    environment: Environment, live: Iterable[Override]
) -> dict[int | None, frozenset[str]]:
    """Return the packages that each upgrade moved which removed one, by the upgrade's id.

    Those that a later upgrade moved on are among them: that one, too, needs what they need.
    """
    removing = {row.upgrade_id for row in live if not row.version and row.upgrade_id}
    if not removing:
        return {}
    moved: dict[int | None, set[str]] = defaultdict(set)
    still = Q(ended_at=None) | Q(ended_how=Override.End.REPLACED)
    rows = environment.overrides.filter(still, upgrade__in=removing)
    for upgrade, name in rows.values_list("upgrade_id", "name"):
        moved[upgrade].add(name)
    return {upgrade: frozenset(names) for upgrade, names in moved.items()}


def versions_of(pins: Iterable[Pin], name: str) -> str:
    """Return the versions of one package, separated by commas; blank if it is not pinned."""
    return ", ".join(dict.fromkeys(pin.version for pin in pins if pin.name == name))


def held_package(name: str, rows: Sequence[Override]) -> HeldPackage:
    """Return one package's overrides as the resolver takes them.

    Raises PinError for a row that is not a valid pin.
    """
    before = {version for row in rows for version in _texts(row, "before")}
    for row in rows:
        _texts(row, "fixes")
    pins = tuple(_pin_of(row) for row in rows if row.version)
    if not is_normalized_name(name):
        raise PinError(_describe_as_invalid(rows[0]))
    return HeldPackage(name, pins, tuple(sorted(before)))


def _pin_of(row: Override) -> Pin:
    # A row may have been written around the form: as a line of a file it must read back the same.
    pin = Pin(
        name=row.name,
        version=row.version,
        extras=tuple(sorted(_texts(row, "extras"))),
        marker=row.marker,
        hashes=tuple(sorted(_texts(row, "hashes"))),
        direct=row.direct,
    )
    try:
        read = read_pins(lock_text([pin]), "the override")
    except PinError as error:
        raise PinError("%(row)s %(error)s", row=_describe_as_invalid(row), error=error) from None
    if len(read) != 1 or replace(read[0], extras=tuple(sorted(read[0].extras))) != pin:
        raise PinError(_describe_as_invalid(row))
    return pin


def _texts(row: Override, field: str) -> list[str]:
    value = getattr(row, field)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PinError(_describe_as_invalid(row))
    return value


def _describe_as_invalid(row: Override) -> Message:
    return Message(
        _("Override %(number)d of %(site)s is not an exact pin: let it go."),
        number=row.pk,
        site=row.environment,
    )


def check_that_it_fits(environment: Environment, laid: LaidOver) -> None:
    """Raise PinError, with uv's report, if overrides conflict with a repository's pins."""
    held = [each for each in laid.overrides if each.holds]
    if not held:
        return
    wanted = {pin.requirement for pin in laid.pins}
    for release in Release.objects.filter(active_on__environment=environment).distinct():
        if {pin.requirement for pin in pins_in(release.lock.text)} == wanted:
            return  # it serves, so it fits; and an index may not have all of it any more
    from deploy_manager.requirements.fitting import check_fit

    try:
        check_fit(laid.pins, targets_of(environment), index_of(environment))
    except PinError as error:
        raise PinError(
            _(
                "The repository's pins conflict with the overrides of %(site)s, %(held)s:\n"
                "%(reason)s\n"
                "Move the pins in the repository, or let an override go: manage.py overrides"
                " %(site)s --let-go %(name)s --reason …"
            ),
            site=environment,
            held=", ".join(f"{each.name} {each.version or '-'}" for each in held),
            name=held[0].name,
            reason=error,
        ) from None


def end_overtaken(deployment: Deployment) -> None:
    """End the overrides that the repository has caught up with, and note it on the deployment.

    Call it in the transaction that ends a deployment as succeeded. A rollback ends none: the next
    deployment puts them over its pins again. Nor does a deployment of another branch, tag or commit
    than the environment's own, one that left servers with another release, or one that brought an
    older release, as a converge does after a rollback of some servers.
    """
    live = Override.objects.live().filter(environment=deployment.environment_id)
    if deployment.recipe == ROLLBACK or not live.exists():
        return
    release = Release.objects.filter(deployments=deployment, repository_lock__isnull=False)
    # If no server switched to it, the repository's pins do not serve yet.
    served = release.filter(active_on__isnull=False).select_related("repository_lock").first()
    if served is None or served.repository_lock is None:
        return
    # Of its release, not of this deployment: a retry names no ref and ends overrides all the same.
    own = Deployment.objects.filter(
        environment=deployment.environment_id, ref=F("environment__ref"), release__isnull=False
    ).exclude(ref="")
    # By an index, row after row from the newest: this is done with the deployment's row locked.
    switches = HostRun.objects.filter(deployment__release=OuterRef("release"), was_switched=True)
    newest_first = own.filter(Exists(switches)).order_by("-begin_number")
    newest = newest_first.values_list("release", flat=True)
    if not is_everywhere(deployment.environment, served) or served.pk != newest.first():
        return
    try:
        laid = lay_over(deployment.environment, pins_in(served.repository_lock.text))
    except DeployManagerError as error:
        # The deployment has succeeded all the same: an invalid row must not undo that.
        logger.warning("The overrides of %s were not checked: %s", deployment, error)
        return
    lines: list[Message] = []
    for each in laid.overrides:
        if each.holds:
            continue
        words = {
            "name": each.name,
            "version": each.version or "-",
            "commit": served.commit[:8],
            "outcome": each.outcome,
        }
        why = Message(_("Commit %(commit)s: %(outcome)s."), **words)
        Override.objects.filter(pk__in=[row.pk for row in each.rows]).end(ENDS[each.standing], why)
        lines.append(Message(_("The override of %(name)s %(version)s %(outcome)s."), **words))
    if lines:
        Deployment.objects.filter(pk=deployment.pk).update(message=Message.lines(*lines))


def is_everywhere(environment: Environment, release: Release) -> bool:
    """Whether no server was seen to serve another release than this one."""
    serving = environment.placements.exclude(active_release=None)
    return not serving.exclude(active_release=release).exists()


def what_comes_back(environment: Environment, name: str) -> ChangedPin:
    """Return how a package's pin changes if its overrides are let go, as far as is known.

    It becomes what the repository pins at the commit that serves; if that is not known, what the
    repository pinned before the upgrade.
    """
    rows = list(environment.overrides.live().filter(name=name))
    old = [Pin(name, row.version, marker=row.marker) for row in rows if parsed_version(row.version)]
    release = serving_release(environment)
    if release and release.repository_lock:
        new = [pin for pin in pins_in(release.repository_lock.text) if pin.name == name]
    else:
        versions = {one for row in rows for one in texts_in(row.before) if parsed_version(one)}
        new = [Pin(name, version) for version in sorted(versions)]
    change = PinChange(name, versions_of(old, name), versions_of(new, name))
    (judged,) = judge_changes(environment, [change], old, new)
    return judged


def let_go(environment: Environment, name: str, *, by: str, reason: str) -> int:
    """End a package's overrides in favour of the repository's pin; return how many there were.

    Raises RequestRefused without a reason, and if the package has no live override.
    """
    reason = mask_text(reason.strip())
    if not reason:
        raise RequestRefused(_("Give a reason for letting it go: it is kept in the history."))
    found = environment.overrides.filter(name=name)
    with noting(found.live(), "ended_how", "ended_why", "ended_by_name"):
        ended = found.end(Override.End.LET_GO, reason, by)
    if ended:
        return ended
    live = sorted(set(environment.overrides.live().values_list("name", flat=True)))
    raise RequestRefused(
        _("%(site)s has no override of %(name)s. Its overrides: %(known)s."),
        name=name,
        site=environment,
        known=", ".join(live) or Message(_("none")),
    )
