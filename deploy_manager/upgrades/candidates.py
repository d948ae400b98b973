"""Which packages a policy would upgrade now, and what it leaves alone or does not know."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from deploy_manager.models import Advisory, Environment, IgnoredPackage, Placement, UpgradePolicy
from deploy_manager.packages.exposure import KnownPackages, PackageVersion, unseen
from deploy_manager.requirements.fixing import versions_that_fix
from deploy_manager.requirements.reach import PinRequest, Reach

FEW = 5
"""Names that a line of an outcome tells; the others are counted."""


@dataclass(frozen=True)
class Candidates:
    """What a policy would upgrade: for each group the requests of one upgrade."""

    groups: tuple[tuple[PinRequest, ...], ...]
    exempt: frozenset[str]
    """Packages that need no cooldown: something known against them has a fix."""

    ignored: Mapping[str, str]
    """Packages that must not move, not even because another one needs it: each with the reason."""

    considered: int
    """How many packages were looked at and are known well enough to decide."""

    told: tuple[str, ...]
    """What is left alone and why, what can't be mended, what is not known: a line each."""


def find_candidates(
    policy: UpgradePolicy, environments: Sequence[Environment], today: date
) -> Candidates:
    """Return what a policy would upgrade in environments on which a release serves.

    `today` is the day by the policy's own clock; what is ignored until then still is. Raises
    PinError for an environment's list of requirements that can't be read.
    """
    known = KnownPackages(environments, policy.packages)
    ignoring = _Ignoring(policy, today)
    against = known.advisories_of(known.pinned)
    fixable = {name: ignoring.fixable(found) for name, found in against.items()}
    fixable = {n: found for n, found in fixable.items() if found and n not in ignoring.packages}
    is_security = policy.how_far == policy.HowFar.SECURITY
    told = _tell_security(known, against, ignoring) if is_security else _tell(known, ignoring)
    undecided = {name for name, _version in known.unknown} if is_security else set()
    return Candidates(
        groups=_grouped(_requests(policy, known, fixable, ignoring), policy.groups),
        exempt=frozenset(fixable if policy.security_skips_cooldown else ()),
        ignored={name: row.reason for name, row in ignoring.packages.items()},
        considered=len(known.names - undecided),
        told=(*told, *_tell_missing(policy, known, unseen(environments))),
    )


def concerned_by(
    requests: Sequence[PinRequest], environments: Sequence[Environment]
) -> list[Environment]:
    """Leave out environments where fixes have nothing to fix: another line of versions may be."""
    names = [request.name for request in requests if request.reach is Reach.FIX]
    if not names:
        return list(environments)
    known = ((each, KnownPackages([each], names)) for each in environments)
    return [each for each, packages in known if packages.advisories_of(packages.pinned)]


class _Ignoring:
    """What a policy ignores on a day."""

    def __init__(self, policy: UpgradePolicy, today: date) -> None:
        rows = [row for row in policy.ignored.all() if row.until is None or row.until >= today]
        self.packages = {row.package: row for row in rows if not row.advisory}
        self._by_advisory = {(row.package, row.advisory): row for row in rows if row.advisory}

    def row_for(self, advisory: Advisory) -> IgnoredPackage | None:
        """By what one advisory is ignored, under whichever of its names."""
        names = advisory.names
        found = (self._by_advisory.get((advisory.package, name)) for name in names)
        return next(filter(None, found), None)

    def fixable(self, found: Iterable[Advisory]) -> list[Advisory]:
        """Leave out what is ignored, and what no version fixes."""
        return [each for each in found if each.first_fixed and not self.row_for(each)]


def _requests(
    policy: UpgradePolicy,
    known: KnownPackages,
    fixable: Mapping[str, Sequence[Advisory]],
    ignoring: _Ignoring,
) -> list[PinRequest]:
    if policy.how_far == policy.HowFar.SECURITY:
        return [_fix(name, found) for name, found in fixable.items()]
    reach = Reach(policy.how_far)
    return [PinRequest(name, reach) for name in sorted(known.names - ignoring.packages.keys())]


def _fix(name: str, found: Iterable[Advisory]) -> PinRequest:
    return PinRequest(
        name, Reach.FIX, fixed_in=versions_that_fix([each.first_fixed for each in found])
    )


def _grouped(
    requests: Sequence[PinRequest], groups: Sequence[Sequence[str]]
) -> tuple[tuple[PinRequest, ...], ...]:
    """Cut requests into upgrades: one for each group, and one for all that are in no group."""
    cut: dict[int, list[PinRequest]] = defaultdict(list)
    for request in requests:
        of = (number for number, group in enumerate(groups) if request.name in group)
        cut[next(of, len(groups))].append(request)
    return tuple(tuple(cut[number]) for number in sorted(cut))


def _tell(known: KnownPackages, ignoring: _Ignoring) -> Iterable[str]:
    for name in sorted(known.names & ignoring.packages.keys()):
        yield _left_alone(name, ignoring.packages[name])


def _tell_security(
    known: KnownPackages, against: Mapping[str, Sequence[Advisory]], ignoring: _Ignoring
) -> Iterable[str]:
    for name, found in against.items():
        if row := ignoring.packages.get(name):
            yield _left_alone(name, row)
        else:
            yield from _tell_advisories(name, found, ignoring)
    yield from _tell_deviations(known, known.installed - known.pinned)
    if known.unknown:
        yield _tell_unknown([f"{name} {version}" for name, version in sorted(known.unknown)])


def _tell_advisories(name: str, found: Iterable[Advisory], ignoring: _Ignoring) -> Iterable[str]:
    for each in found:
        if row := ignoring.row_for(each):
            yield _left_alone(f"{name} ({row.advisory})", row)
        elif not each.first_fixed:
            yield _("%(name)s has no version yet that fixes %(advisory)s.") % {
                "name": name,
                "advisory": each,
            }


def _tell_deviations(known: KnownPackages, deviations: set[PackageVersion]) -> Iterable[str]:
    """Say what no upgrade mends, since what is installed is not what is pinned."""
    found = [
        f"{n} {version}" for n, version in sorted(deviations) if known.advisories_of([(n, version)])
    ]
    if found:
        yield _("Vulnerable and installed, but not pinned: %(names)s. Converge, or pin it.") % {
            "names": few(found)
        }


def _tell_unknown(versions: Sequence[str]) -> str:
    return ngettext(
        "Unknown: %(count)d version could not be checked for advisories: %(names)s.",
        "Unknown: %(count)d versions could not be checked for advisories: %(names)s.",
        len(versions),
    ) % {"count": len(versions), "names": few(versions)}


def _tell_missing(
    policy: UpgradePolicy, known: KnownPackages, unseen: Iterable[Placement]
) -> Iterable[str]:
    if missing := sorted(set(policy.packages) - known.names):
        yield _("Not pinned here: %(names)s.") % {"names": few(missing)}
    if servers := [each.server.name for each in unseen]:
        yield _("Unknown: what is installed on %(servers)s.") % {"servers": few(servers)}


def _left_alone(what: str, row: IgnoredPackage) -> str:
    words = {"what": what, "until": row.until, "reason": row.reason}
    if row.until is None:
        return _("Left alone: %(what)s. %(reason)s") % words
    return _("Left alone until %(until)s: %(what)s. %(reason)s") % words


def few(names: Sequence[str]) -> str:
    """Return some names, and how many more there are."""
    told = ", ".join(names[:FEW])
    more = len(names) - FEW
    return told if more <= 0 else _("%(told)s and %(more)d more") % {"told": told, "more": more}
