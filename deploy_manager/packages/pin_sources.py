"""An environment's pins as they serve, as they are listed, and as they are installed."""

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
    """How an environment's sources of pins differ."""

    serving: Release | None
    """What most of the servers serve; None: nothing yet."""

    listed: int
    """How many pins the environment lists."""

    moves: tuple[PinChange, ...]
    """From what serves to what is listed."""

    seen: int
    """How many servers have a current inventory."""

    changed: Mapping[str, tuple[Placement, ...]]
    """Packages that are out of sync with the release that a server serves, and where."""

    unlisted: Sequence[Drift]
    """Packages that are out of sync with the environment's list."""

    unseen: tuple[Placement, ...]
    """Servers whose installed packages are not known."""


def pin_sources(environment: Environment) -> PinSources:
    """Compare them, with the same number of queries for one server and for a thousand.

    Raises PinError if the lock that serves can't be read.
    """
    serving, listed = serving_release(environment), pins_of(environment)
    lock = read_pins(serving.lock.text) if serving and serving.lock.text else ()
    known = environment.placements.filter(inventory_at__isnull=False, inventory_problem="")
    seen = list(
        known.select_related("server", "active_release__lock").prefetch_related("installed")
    )
    changed: dict[str, tuple[Placement, ...]] = {}
    for placement in seen:
        # Each with its own release: in the middle of a rollout there are two.
        if placement.active_release:
            wanted = wanted_on(placement, pinned_in(placement.active_release.lock.text))
            installed = {package.name: package.version for package in placement.installed.all()}
            for deviation in deviations_of(installed, wanted):
                changed[deviation.name] = (*changed.get(deviation.name, ()), placement)
    return PinSources(
        serving=serving,
        listed=len(listed),
        moves=compare_pins(lock, listed) if serving and listed else (),
        seen=len(seen),
        changed=dict(sorted(changed.items())),
        unlisted=drift([environment]) if listed else (),
        unseen=tuple(unseen([environment])),
    )
