"""An environment's pins three times: those that serve, those that are listed, what is installed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy_manager.drift import deviations_of
from deploy_manager.models import Environment, Placement, Release
from deploy_manager.models.serving import serving_release
from deploy_manager.packages.drift import Drift, drift, wanted_on
from deploy_manager.packages.exposure import unseen
from deploy_manager.packages.pins import pinned_in, pins_of
from deploy_manager.requirements.pins import PinChange, compare_pins
from deploy_manager.requirements.reading import read_pins


@dataclass(frozen=True)
class PinSources:
    """Where they differ."""

    serving: Release | None
    """What most of the servers serve; None: nothing yet."""

    listed: int
    """How many pins the environment lists."""

    moves: tuple[PinChange, ...]
    """From what serves to what is listed."""

    seen: int
    """How many servers told what they have installed."""

    changed: Mapping[str, tuple[Placement, ...]]
    """Packages that are not installed as the release pins them that a server serves, and where."""

    unlisted: Sequence[Drift]
    """Packages that are not installed as they are listed."""

    unseen: tuple[Placement, ...]
    """Servers of which nobody knows what is installed."""


def pin_sources(environment: Environment) -> PinSources:
    """Compare them, in as many queries for one server as for all.

    Raises PinError for a lock that serves and can't be read.
    """
    serving, listed = serving_release(environment), pins_of(environment)
    lock = read_pins(serving.lock.text) if serving and serving.lock.text else ()
    told = environment.placements.filter(inventory_at__isnull=False, inventory_problem="")
    seen = list(told.select_related("server", "active_release__lock").prefetch_related("installed"))
    return PinSources(
        serving=serving,
        listed=len(listed),
        moves=compare_pins(lock, listed) if serving and listed else (),
        seen=len(seen),
        changed=_changed(seen),
        unlisted=drift([environment]) if listed else (),
        unseen=tuple(unseen([environment])),
    )


def _changed(seen: Sequence[Placement]) -> dict[str, tuple[Placement, ...]]:
    found: dict[str, list[Placement]] = defaultdict(list)
    for placement in seen:
        if placement.active_release:
            wanted = wanted_on(placement, pinned_in(placement.active_release.lock.text))
            installed = {package.name: package.version for package in placement.installed.all()}
            for deviation in deviations_of(installed, wanted):
                found[deviation.name].append(placement)
    return {name: tuple(placements) for name, placements in sorted(found.items())}
