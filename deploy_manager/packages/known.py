"""What is pinned and installed in environments, and what is known against it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

from deploy_manager.models import Advisory, AuditedVersion, Environment, InstalledPackage
from deploy_manager.models.serving import serving_release
from deploy_manager.packages.exposure import PackageVersion, audited_versions
from deploy_manager.packages.pins import checked_pins_of
from deploy_manager.requirements.pins import Pin
from deploy_manager.requirements.reading import read_pins


class KnownPackages:
    """The packages of environments: all, or those of these names."""

    def __init__(self, environments: Sequence[Environment], names: Iterable[str] = ()) -> None:
        self._environments = environments
        self._only = frozenset(names)

    @cached_property
    def pinned(self) -> set[PackageVersion]:
        """Raises PinError for a list of requirements that can't be read."""
        pins = (pin for each in self._environments for pin in _pins(each))
        return {(pin.name, pin.version) for pin in pins if self._is_wanted(pin.name)}

    @cached_property
    def installed(self) -> set[PackageVersion]:
        seen = InstalledPackage.objects.filter(placement__environment__in=self._environments)
        return {each for each in seen.values_list("name", "version") if self._is_wanted(each[0])}

    @cached_property
    def names(self) -> set[str]:
        """The packages that can be upgraded: those that are pinned."""
        return {name for name, _version in self.pinned}

    @cached_property
    def unknown(self) -> set[PackageVersion]:
        """Versions of which nobody could look, or not wholly, whether anything is known."""
        there = self.pinned | self.installed
        return {
            each
            for each in there
            if each not in self._audited or not self._audited[each].is_checked
        }

    def advisories_of(self, versions: Iterable[PackageVersion]) -> dict[str, list[Advisory]]:
        """Return what is known against versions, by package, sorted; only packages that have any.

        `versions` are some of those that are pinned or installed.
        """
        found: dict[str, dict[int, Advisory]] = defaultdict(dict)
        for name, version in sorted(versions):
            audited = self._audited.get((name, version))
            for each in audited.advisories.all() if audited else ():
                found[name][each.pk] = each
        return {name: sorted(each.values(), key=str) for name, each in found.items()}

    @cached_property
    def _audited(self) -> dict[PackageVersion, AuditedVersion]:
        there = self.pinned | self.installed
        rows = audited_versions({name for name, _version in there})
        return {version: rows[version] for version in there & rows.keys()}

    def _is_wanted(self, name: str) -> bool:
        return not self._only or name in self._only


def _pins(environment: Environment) -> Sequence[Pin]:
    """What an upgrade begins from: the pins people list, or those of the release that serves."""
    is_listed = environment.pins_from == Environment.PinsFrom.ROWS
    if is_listed and (listed := checked_pins_of(environment)):
        return listed
    release = serving_release(environment)
    return read_pins(release.lock.text) if release else ()
