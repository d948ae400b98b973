"""Overrides put over a repository's pins: the one way to a lock that a deployment may take."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from packaging.utils import is_normalized_name

from deploy_manager.exceptions import DeployManagerError, PinError
from deploy_manager.models import Deployment, Environment, Override, Release
from deploy_manager.models.deployments import ROLLBACK
from deploy_manager.packages.pins import pins_in
from deploy_manager.packages.targets import targets_of
from deploy_manager.requirements.fitting import check_fit
from deploy_manager.requirements.overriding import HeldPackage, Standing, put_over
from deploy_manager.requirements.pins import Pin, lock_text
from deploy_manager.requirements.reading import read_pins

logger = logging.getLogger(__name__)

ENDS = {
    Standing.CAUGHT_UP: Override.End.CAUGHT_UP,
    Standing.DROPPED: Override.End.DROPPED,
    Standing.NOT_NEEDED: Override.End.NOT_NEEDED,
}


@dataclass(frozen=True)
class StandingOverride:
    """A package that is held, beside what a repository pins."""

    rows: tuple[Override, ...]
    """One for each marker."""

    repository: str
    """The versions of the repository; blank: it does not list the package."""

    standing: Standing

    @property
    def name(self) -> str:
        return self.rows[0].name

    @property
    def version(self) -> str:
        """The versions of the upgrade; blank: it removed the package."""
        return ", ".join(dict.fromkeys(row.version for row in self.rows if row.version))

    @property
    def holds(self) -> bool:
        return self.standing is Standing.HOLDS

    @property
    def why(self) -> str:
        """Why it was moved, what that ended, and by which upgrade."""
        row = self.rows[0]
        told = [row.why, _("fixes %s") % row.fixes_told if row.fixes_told else ""]
        if row.upgrade_id:
            told.append(_("upgrade #%d") % row.upgrade_id)
        return "; ".join(filter(None, told))

    @property
    def told(self) -> str:
        """What becomes of it, in words."""
        words = {"name": self.name, "version": self.repository or _("none")}
        match self.standing:
            case Standing.HOLDS:
                return _("holds: the repository has %(version)s") % words
            case Standing.CAUGHT_UP:
                return _("ends: the repository has %(version)s") % words
            case Standing.DROPPED:
                return _("ends: the repository does not list %(name)s any more") % words
            case _other:
                return _("ends: nothing that holds needs it any more")


@dataclass(frozen=True)
class LaidOver:
    """The pins to install, and what of them an upgrade holds."""

    pins: tuple[Pin, ...]
    overrides: tuple[StandingOverride, ...] = ()


def lay_over(environment: Environment, pins: tuple[Pin, ...]) -> LaidOver:
    """Return a commit's pins with the environment's overrides over them, where it has less.

    An environment that lists its own pins has none: its list follows an upgrade. Raises PinError
    for an override that is no pin: rows are also written around forms.
    """
    if environment.pins_from != Environment.PinsFrom.COMMIT:
        return LaidOver(pins)
    live = environment.overrides.live().select_related("upgrade")
    rows: dict[str, list[Override]] = defaultdict(list)
    for row in live:
        rows[row.name].append(row)
    if not rows:
        return LaidOver(pins)
    laid = put_over(pins, [held_package(name, of_one) for name, of_one in rows.items()])
    return LaidOver(
        laid.pins,
        tuple(
            StandingOverride(tuple(of_one), versions_of(pins, name), laid.standings[name])
            for name, of_one in rows.items()
        ),
    )


def versions_of(pins: Iterable[Pin], name: str) -> str:
    """Return the versions of one package as people read them; blank where it is not pinned."""
    return ", ".join(dict.fromkeys(pin.version for pin in pins if pin.name == name))


def held_package(name: str, rows: Sequence[Override]) -> HeldPackage:
    """Return the rows of one package as what is held. Raises PinError for one that is no pin."""
    before = {version for row in rows for version in _texts(row, "before")}
    for row in rows:
        _texts(row, "fixes")
    pins = tuple(_pin_of(row) for row in rows if row.version)
    if not is_normalized_name(name):
        raise PinError(_no_pin(rows[0]))
    return HeldPackage(name, pins, tuple(sorted(before)))


def _pin_of(row: Override) -> Pin:
    """Write the row as a line of a lock and read it back: only what is the same is a pin."""
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
        raise PinError(f"{_no_pin(row)} {error}") from None
    if len(read) != 1 or replace(read[0], extras=tuple(sorted(read[0].extras))) != pin:
        raise PinError(_no_pin(row))
    return pin


def _texts(row: Override, field: str) -> list[str]:
    value = getattr(row, field)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise PinError(_no_pin(row))
    return value


def _no_pin(row: Override) -> str:
    return _("Override %(number)d of %(site)s is no exact pin: let it go.") % {
        "number": row.pk,
        "site": row.environment,
    }


def check_that_it_fits(environment: Environment, laid: LaidOver) -> None:
    """Raise PinError, in uv's words, where overrides and a repository's pins can't be together.

    What serves already fits: it is not asked about again.
    """
    if not any(each.holds for each in laid.overrides):
        return
    wanted = {pin.requirement for pin in laid.pins}
    for release in Release.objects.filter(active_on__environment=environment).distinct():
        if {pin.requirement for pin in pins_in(release.lock.text)} == wanted:
            return
    try:
        check_fit(laid.pins, targets_of(environment), environment.index_url)
    except PinError as error:
        held = [each for each in laid.overrides if each.holds]
        raise PinError(
            _(
                "The repository's pins do not fit with the overrides of %(site)s, %(held)s:\n"
                "%(reason)s\n"
                "Move the pins in the repository, or let an override go: manage.py overrides"
                " %(site)s --let-go %(name)s --reason …"
            )
            % {
                "site": environment,
                "held": ", ".join(f"{each.name} {each.version or '-'}" for each in held),
                "name": held[0].name,
                "reason": error,
            }
        ) from None


def end_overtaken(deployment: Deployment) -> None:
    """End the overrides that the repository has caught up with, and say so on the deployment.

    To be called in the transaction that ends a deployment as succeeded. A rollback ends none: the
    next deployment puts them over its pins again.
    """
    live = Override.objects.live().filter(environment=deployment.environment_id)
    if deployment.recipe == ROLLBACK or not live.exists():
        return
    release = Release.objects.filter(deployments=deployment, repository_lock__isnull=False)
    served = release.filter(active_on__isnull=False).select_related("repository_lock").first()
    if served is None or served.repository_lock is None:
        return
    try:
        laid = lay_over(deployment.environment, pins_in(served.repository_lock.text))
    except DeployManagerError as error:
        logger.warning("Overrides of %s were not looked at: %s", deployment, error)
        return
    told = [_end(each, served) for each in laid.overrides if not each.holds]
    if told:
        Deployment.objects.filter(pk=deployment.pk).update(message="\n".join(told))


def _end(each: StandingOverride, release: Release) -> str:
    """End one, and return the line that says so."""
    words = {
        "name": each.name,
        "version": each.version or "-",
        "commit": release.commit[:8],
        "told": each.told,
    }
    why = _("Commit %(commit)s: %(told)s.") % words
    Override.objects.filter(pk__in=[row.pk for row in each.rows]).end(ENDS[each.standing], why)
    return _("The override of %(name)s %(version)s %(told)s.") % words
