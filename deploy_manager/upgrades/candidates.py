"""Choose the packages that a policy upgrades now, and report what it leaves out and why."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.translation import gettext_noop as _

from deploy_manager import messages
from deploy_manager.messages import Message, ngettext
from deploy_manager.models import Advisory, Environment, IgnoredPackage, Placement, UpgradePolicy
from deploy_manager.packages.exposure import KnownPackages, unseen
from deploy_manager.requirements.reach import PinRequest, Reach
from deploy_manager.upgrades.words import fix_for

FEW = 5
"""Names that a line of an outcome lists; the others are counted."""


@dataclass(frozen=True)
class Candidates:
    """The packages that a policy upgrades now, and a report on the others."""

    groups: tuple[tuple[PinRequest, ...], ...]
    """The pin requests of each upgrade."""

    exempt: frozenset[str]
    """Packages without a cooldown: they have a known advisory that a version fixes."""

    ignored: Mapping[str, str]
    """Packages that must not move, even if another one needs it; the values are the reasons."""

    considered: int
    """How many packages were checked and are known well enough to decide."""

    report: tuple[Message | str, ...]
    """A line for each thing that is left alone, that has no fix, or that is unknown."""


def find_candidates(
    policy: UpgradePolicy, environments: Sequence[Environment], today: date
) -> Candidates:
    """Return what a policy upgrades in environments on which a release serves.

    `today` is the date in the policy's time zone; what is ignored until that date still is. Raises
    PinError for an environment's list of requirements that can't be read.
    """
    known = KnownPackages(environments, policy.packages)
    ignoring = _Ignoring(policy, today)
    against = known.advisories_of(known.pinned)
    fixable = {name: ignoring.fixable(found) for name, found in against.items()}
    fixable = {n: found for n, found in fixable.items() if found and n not in ignoring.packages}
    if policy.how_far == policy.HowFar.SECURITY:
        requests = [fix_for(name, found) for name, found in fixable.items()]
        lines = _describe_advisories(known, against, ignoring)
        undecided = {name for name, _version in known.unknown}
    else:
        reach, names = Reach(policy.how_far), known.names - ignoring.packages.keys()
        requests = [PinRequest(name, reach) for name in sorted(names)]
        ignored = sorted(known.names & ignoring.packages.keys())
        lines = [_left_alone(name, ignoring.packages[name]) for name in ignored]
        undecided = set()
    return Candidates(
        groups=_grouped(requests, policy.groups),
        exempt=frozenset(fixable if policy.security_skips_cooldown else ()),
        ignored={name: row.reason for name, row in ignoring.packages.items()},
        considered=len(known.names - undecided),
        report=(*lines, *_describe_missing(policy, known, unseen(environments))),
    )


def concerned_by(
    requests: Sequence[PinRequest], environments: Sequence[Environment]
) -> list[Environment]:
    """Leave out environments in which the requested fixes have nothing to fix."""
    # One request serves several environments: they may have other minor versions of the package.
    names = [request.name for request in requests if request.reach is Reach.FIX]
    if not names:
        return list(environments)
    known = ((each, KnownPackages([each], names)) for each in environments)
    return [each for each, packages in known if packages.advisories_of(packages.pinned)]


class _Ignoring:
    """The packages and advisories that a policy ignores on a date."""

    def __init__(self, policy: UpgradePolicy, today: date) -> None:
        rows = [row for row in policy.ignored.all() if row.until is None or row.until >= today]
        self.packages = {row.package: row for row in rows if not row.advisory}
        self._by_advisory = {(row.package, row.advisory): row for row in rows if row.advisory}

    def row_for(self, advisory: Advisory) -> IgnoredPackage | None:
        """Return the row that ignores an advisory, by any of its names."""
        names = advisory.names
        found = (self._by_advisory.get((advisory.package, name)) for name in names)
        return next(filter(None, found), None)

    def fixable(self, found: Iterable[Advisory]) -> list[Advisory]:
        """Leave out the ignored ones, and those without a fixed version."""
        return [each for each in found if each.first_fixed and not self.row_for(each)]


def _grouped(
    requests: Sequence[PinRequest], groups: Sequence[Sequence[str]]
) -> tuple[tuple[PinRequest, ...], ...]:
    """Split requests into upgrades: one for each group, and one for those without a group."""
    cut: dict[int, list[PinRequest]] = defaultdict(list)
    for request in requests:
        of = (number for number, group in enumerate(groups) if request.name in group)
        cut[next(of, len(groups))].append(request)
    return tuple(tuple(cut[number]) for number in sorted(cut))


def _describe_advisories(
    known: KnownPackages, against: Mapping[str, Sequence[Advisory]], ignoring: _Ignoring
) -> Iterable[Message]:
    """Yield a line for what is ignored, what has no fix, and what an upgrade can't fix."""
    for name, found in against.items():
        if row := ignoring.packages.get(name):
            yield _left_alone(name, row)
            continue
        for advisory in found:
            if row := ignoring.row_for(advisory):
                yield _left_alone(f"{name} ({row.advisory})", row)
            elif not advisory.first_fixed:
                words = {"name": name, "advisory": advisory}
                yield Message(_("%(name)s has no version yet that fixes %(advisory)s."), **words)
    # An upgrade moves pins: it can't change a version that is installed without being pinned.
    vulnerable = [
        f"{name} {version}"
        for name, version in sorted(known.installed - known.pinned)
        if name not in known.elsewhere and known.advisories_of([(name, version)])
    ]
    if vulnerable:
        yield Message(
            _("Vulnerable and installed, but not pinned: %(names)s. Converge, or pin it."),
            names=few(vulnerable),
        )
    if versions := [f"{name} {version}" for name, version in sorted(known.unknown)]:
        yield ngettext(
            "Unknown: %(count)d version could not be checked for advisories: %(names)s.",
            "Unknown: %(count)d versions could not be checked for advisories: %(names)s.",
            len(versions),
            names=few(versions),
        )


def _describe_missing(
    policy: UpgradePolicy, known: KnownPackages, unseen: Iterable[Placement]
) -> Iterable[Message]:
    if missing := sorted(set(policy.packages) - known.names - known.elsewhere):
        yield Message(_("Not pinned here: %(names)s."), names=few(missing))
    if known.elsewhere:
        text = _("Left alone: %(names)s. Pinned to a commit or a file, which only people move.")
        yield Message(text, names=few(sorted(known.elsewhere)))
    if servers := [each.server.name for each in unseen]:
        yield Message(_("Unknown: what is installed on %(servers)s."), servers=few(servers))


def _left_alone(what: str, row: IgnoredPackage) -> Message:
    words = {"what": what, "until": row.until, "reason": row.reason}
    if row.until is None:
        return Message(_("Left alone: %(what)s. %(reason)s"), **words)
    return Message(_("Left alone until %(until)s: %(what)s. %(reason)s"), **words)


def few(names: Sequence[str]) -> Message:
    """Return the first names, and how many more there are."""
    return messages.few(names, FEW)
